"""Fund users: money comes in, and nothing is done with it yet."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, learned, workload


@workload("fund-users")
def fund_users(cast: Cast, number: int, _known: Known, _params: Mapping[str, str]) -> Journey:
    """A user is created and funded, and the money has arrived."""
    achieved((yield cast.operation("create-user", number, admin=True)))
    funded = achieved(
        (
            yield cast.operation(
                "fund",
                number,
                admin=True,
                amount_minor=cast.deposit_minor(number),
                params={"reference": cast.root.child("reference", number).uuid()},
            )
        )
    )
    job = learned(funded, "job")
    achieved(
        (yield cast.operation("await-job", number, name="await-fund", key="", params={"job": job}))
    )
    return {"funding": job}
