"""Open investments: everything that has to exist before money can be invested."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, learned, workload
from load.workloads.fund_users import fund_users


@workload("open-investments")
def open_investments(cast: Cast, number: int, known: Known, params: Mapping[str, str]) -> Journey:
    """A user is created and funded, then opens one investment."""
    yield from fund_users(cast, number, known, params)
    return (yield from create_investment(cast, number))


def create_investment(cast: Cast, number: int) -> Journey:
    """The one investment of a journey, not yet executed."""
    opened = achieved(
        (
            yield cast.operation(
                "create-investment",
                number,
                amount_minor=cast.amount_minor(number),
                params={"instrument": "FUND-A"},
            )
        )
    )
    return {"investment": learned(opened, "investment")}
