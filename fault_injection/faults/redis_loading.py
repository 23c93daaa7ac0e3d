"""The queue is there, and does not serve yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fault_injection.faults.publish_reply_lost import PublishReplyLost
from harness.core.fault import fault


@fault("redis-loading")
@dataclass(frozen=True, kw_only=True)
class RedisLoading(PublishReplyLost):
    """Redis refuses a job's message with LOADING, as it does after a restart.

    The observer is the publisher's log, as in `publish-reply-lost`.
    """

    toxic_type = "answer_with_error"
    stream = "upstream"
    error: ClassVar[str] = "LOADING"

    def details(self) -> Mapping[str, str | int]:
        """Which error Redis gives."""
        return {"error": self.error}
