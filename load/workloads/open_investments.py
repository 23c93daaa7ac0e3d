"""Open investments: everything that has to exist before money can be invested."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, learned, workload


@workload("open-investments")
def open_investments(cast: Cast, number: int, _known: Known, _params: Mapping[str, str]) -> Journey:
    """A user is created and funded, then opens one investment."""
    achieved((yield cast.operation("create-user", number, admin=True)))
    reference = cast.root.child("reference", number).uuid()
    funded = achieved(
        (
            yield cast.operation(
                "fund",
                number,
                admin=True,
                amount_minor=cast.deposit_minor(number),
                params={"reference": reference},
            )
        )
    )
    achieved(
        (
            yield cast.operation(
                "await-job",
                number,
                name="await-fund",
                key="",
                params={"job": learned(funded, "job")},
            )
        )
    )
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
