"""The partner executed, and says that it failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fault_injection.faults.partner_reply_lost import PartnerReplyLost
from harness.core.fault import fault


@fault("partner-500-after-executing")
@dataclass(frozen=True, kw_only=True)
class Partner500AfterExecuting(PartnerReplyLost):
    """The partner executes the order and answers 500: its outcome is unknown, not failed.

    The observer is the partner's own journal, as in `partner-reply-lost`.
    """

    toxic_type = "answer_with_error"
    error: ClassVar[str] = "500"

    def details(self) -> Mapping[str, str | int]:
        """Which answer takes the place of the partner's."""
        return {"error": self.error}
