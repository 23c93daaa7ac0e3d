"""The partner executed, and its answer ends in the middle."""

from collections.abc import Mapping
from dataclasses import dataclass

from fault_injection.faults.partner_reply_lost import PartnerReplyLost
from harness.core.fault import fault


@fault("partner-reply-truncated")
@dataclass(frozen=True, kw_only=True)
class PartnerReplyTruncated(PartnerReplyLost):
    """The partner executes the order, but only `size` bytes of its reply arrive before the end.

    The observer is the partner's own journal, as in `partner-reply-lost`.
    """

    size: int = 0
    toxic_type = "truncate"

    def details(self) -> Mapping[str, str | int]:
        """How much of the reply arrives: half unless told."""
        return {"bytes": self.size, "then": "end"}
