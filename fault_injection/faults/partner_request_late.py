"""An order that arrives when nobody waits for it any more."""

from collections.abc import Mapping
from dataclasses import dataclass

from fault_injection.message_fault import MessageFault
from harness.core.fault import Observed, Proof, fault

_SLACK_MS = 300


@fault("partner-request-late")
@dataclass(frozen=True, kw_only=True)
class PartnerRequestLate(MessageFault):
    """An order is on its way for `delay_ms`, and arrives even if the service has given it up.

    The observer is the partner's own journal: an order of the flow came at just that time.
    """

    delay_ms: int
    toxic_type = "delay"
    stream = "upstream"
    message_kind = "POST"

    def details(self) -> Mapping[str, str | int]:
        """How long the order is on its way."""
        return {"delay_ms": self.delay_ms}

    def proof(self, seen: Observed) -> Proof:
        """The partner's journal has an order of the flow at the time when the late one is due."""
        claim = self.claim(seen)
        due_ns = seen.wall_ns(claim.at_ns) + self.delay_ms * 1_000_000 if claim else 0
        orders = [e for e in seen.partner_events() if e.trace == self.trace and e.event != "query"]
        late_ms = [(event.at_ns - due_ns) // 1_000_000 for event in orders]
        bit = claim is not None and any(-1 <= late <= _SLACK_MS for late in late_ms)
        evidence = {"ms after it was due": ", ".join(map(str, late_ms)) or "none"}
        return Proof(bit, "partner journal", evidence, claim.at_ns if claim else 0)
