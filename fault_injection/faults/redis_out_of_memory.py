"""The queue is full."""

from dataclasses import dataclass

from fault_injection.faults.redis_loading import RedisLoading
from harness.core.fault import fault


@fault("redis-out-of-memory")
@dataclass(frozen=True, kw_only=True)
class RedisOutOfMemory(RedisLoading):
    """Redis refuses a job's message with OOM, as it does when its memory is used up.

    The observer is the publisher's log, as in `publish-reply-lost`.
    """

    error = "OOM"
