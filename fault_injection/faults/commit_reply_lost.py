"""The ambiguous commit: done in the database, unknown to the service."""

from dataclasses import dataclass

from fault_injection.message_fault import MessageFault, postgres_proof
from harness.core.fault import Observed, Proof, fault

LOST = "could not receive data from client: Connection reset by peer"
OPEN = "unexpected EOF on client connection with an open transaction"


@fault("commit-reply-lost")
@dataclass(frozen=True, kw_only=True)
class CommitReplyLost(MessageFault):
    """The database commits, but its reply to the COMMIT never arrives; the connection is reset.

    `within` names a statement of the transaction whose COMMIT is meant. The observer is
    PostgreSQL's own log: it names the peer's port, says that the connection was reset, and would
    say so if the transaction had still been open, which is how a lost request looks.
    """

    within: str
    message_kind = "COMMIT"

    def proof(self, seen: Observed) -> Proof:
        """PostgreSQL logged a reset from the very port, outside any transaction."""
        return postgres_proof(self.claim(seen), seen, LOST, but=OPEN)
