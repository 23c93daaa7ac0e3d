"""The partner executed, and the service was not told."""

from dataclasses import dataclass

from fault_injection.message_fault import MessageFault
from harness.core.fault import Observed, Proof, fault


@fault("partner-reply-lost")
@dataclass(frozen=True, kw_only=True)
class PartnerReplyLost(MessageFault):
    """The partner receives and executes the order, but its reply is lost; the connection is reset.

    The observer is the partner's own journal: it executed the order, and the service had to come
    back about it, which it never does when it has got its reply.
    """

    message_kind = "POST"

    def proof(self, seen: Observed) -> Proof:
        """The partner's journal holds the execution and a later question about the same flow."""
        mine = [event for event in seen.partner_events() if event.trace == self.trace]
        executed = [event for event in mine if event.event == "executed"]
        claim = self.claim(seen)
        if not executed or claim is None:
            return Proof(False, "partner journal", {"executed": str(len(executed))})
        first = executed[0]
        again = [event for event in mine if event.seq > first.seq]
        evidence = {
            "executed": f"row {first.seq}, order {first.client_order}",
            "asked again": ", ".join(f"row {event.seq} {event.event}" for event in again[:4]),
        }
        return Proof(bool(again), "partner journal", evidence, claim.at_ns)
