"""A statement that never arrives."""

from dataclasses import dataclass

from fault_injection.faults.commit_reply_lost import OPEN
from fault_injection.message_fault import MessageFault, postgres_proof
from harness.core.fault import Observed, Proof, fault


@fault("request-reset")
@dataclass(frozen=True, kw_only=True)
class RequestReset(MessageFault):
    """A statement within a transaction never reaches the database; the connection is reset.

    `message_kind` is its verb. A lost COMMIT looks to the service like `commit-reply-lost`: only
    the database knows the difference. The observer is PostgreSQL's own log, which says that the
    client left an open transaction.
    """

    message_kind: str
    within: str = ""
    toxic_type = "reset_before"
    stream = "upstream"

    def proof(self, seen: Observed) -> Proof:
        """PostgreSQL logged the end of the very port's connection within a transaction."""
        return postgres_proof(self.claim(seen), seen, OPEN)
