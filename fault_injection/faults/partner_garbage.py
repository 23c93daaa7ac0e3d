"""The partner executed, and something answers that is not the partner."""

from dataclasses import dataclass

from fault_injection.faults.partner_500_after_executing import Partner500AfterExecuting
from harness.core.fault import fault


@fault("partner-garbage")
@dataclass(frozen=True, kw_only=True)
class PartnerGarbage(Partner500AfterExecuting):
    """The partner executes the order, and the answer is 200 with a page of HTML: no success.

    The observer is the partner's own journal, as in `partner-reply-lost`.
    """

    error = "garbage"
