"""A transaction that waits for one that waits for it."""

from dataclasses import dataclass

from fault_injection.faults.serialization_failure import SerializationFailure
from harness.core.fault import fault


@fault("deadlock")
@dataclass(frozen=True, kw_only=True)
class Deadlock(SerializationFailure):
    """A statement fails with SQLSTATE 40P01: PostgreSQL ended a deadlock at this one's cost.

    The rest is as in `serialization-failure`.
    """

    sqlstate = "40P01"
    words = "deadlock detected"
