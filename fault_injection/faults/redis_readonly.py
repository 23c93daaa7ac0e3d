"""The queue was moved, and the publisher does not know."""

from dataclasses import dataclass

from fault_injection.faults.redis_loading import RedisLoading
from harness.core.fault import fault


@fault("redis-readonly")
@dataclass(frozen=True, kw_only=True)
class RedisReadonly(RedisLoading):
    """Redis refuses a job's message with READONLY, as a primary does that has become a replica.

    The observer is the publisher's log, as in `publish-reply-lost`.
    """

    error = "READONLY"
