"""An administrator, or a failover, ends a session."""

from collections.abc import Mapping
from dataclasses import dataclass

from fault_injection.faults.commit_reply_lost import OPEN
from fault_injection.message_fault import MessageFault, postgres_proof
from harness.core.fault import Observed, Proof, fault


@fault("admin-shutdown")
@dataclass(frozen=True, kw_only=True)
class AdminShutdown(MessageFault):
    """A statement within a transaction is answered with SQLSTATE 57P01, and the session ends.

    `message_kind` is its verb. The observer is PostgreSQL's own log: the session ended within its
    transaction, which is undone.
    """

    message_kind: str
    toxic_type = "answer_with_error"
    stream = "upstream"

    def details(self) -> Mapping[str, str | int]:
        """Which error the proxy gives."""
        return {"error": "57P01"}

    def proof(self, seen: Observed) -> Proof:
        """PostgreSQL logged the end of the very port's connection within a transaction."""
        return postgres_proof(self.claim(seen), seen, OPEN)
