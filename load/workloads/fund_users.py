"""Fund users: money comes in, and nothing is done with it yet."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, learned, repeated, workload

# Which journeys of each ten repeat their requests with the old keys.
ASKS_AGAIN = 2


@workload("fund-users")
def fund_users(cast: Cast, number: int, _known: Known, _params: Mapping[str, str]) -> Journey:
    """A user is created and funded, and the money has arrived."""
    created = achieved((yield cast.operation("create-user", number, admin=True)))
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
    if number % 10 == ASKS_AGAIN:
        achieved((yield repeated(cast, created)))
        achieved((yield repeated(cast, funded)))
    return {"funding": job}
