"""The partner gets one order twice."""

from dataclasses import dataclass

from fault_injection.message_fault import MessageFault
from harness.core.fault import Observed, Proof, fault


@fault("partner-request-twice")
@dataclass(frozen=True, kw_only=True)
class PartnerRequestTwice(MessageFault):
    """An order reaches the partner twice in a row, as when a gateway sends it again.

    The observer is the partner's own journal: a duplicate that nobody asked a question before, as
    the service does when it is in doubt.
    """

    toxic_type = "deliver_twice"
    stream = "upstream"
    message_kind = "POST"

    def proof(self, seen: Observed) -> Proof:
        """The partner's journal has the execution, and a duplicate right behind it."""
        mine = [event for event in seen.partner_events() if event.trace == self.trace]
        words = [event.event for event in mine]
        first = words.index("executed") if "executed" in words else len(words)
        behind = [word for word in words[first + 1 :] if word != "submit"]
        claim = self.claim(seen)
        return Proof(
            claim is not None and behind[:1] == ["duplicate"],
            "partner journal",
            {"events": ", ".join(words)},
            claim.at_ns if claim else 0,
        )
