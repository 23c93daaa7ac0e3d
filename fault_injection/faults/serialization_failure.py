"""A transaction that the database will not have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fault_injection.message_fault import MessageFault, postgres_proof
from harness.core.fault import Observed, Proof, fault


@fault("serialization-failure")
@dataclass(frozen=True, kw_only=True)
class SerializationFailure(MessageFault):
    """A statement fails with SQLSTATE 40001: the whole transaction has to be done again.

    `message_kind` is its verb. The statement itself is not executed. The observer is PostgreSQL's
    own log: its transaction really failed.
    """

    message_kind: str
    toxic_type = "answer_with_error"
    stream = "upstream"
    sqlstate: ClassVar[str] = "40001"
    words: ClassVar[str] = "could not serialize access"

    def details(self) -> Mapping[str, str | int]:
        """Which error the proxy brings about."""
        return {"error": self.sqlstate}

    def proof(self, seen: Observed) -> Proof:
        """PostgreSQL logged the error on the very port."""
        return postgres_proof(self.claim(seen), seen, self.words)
