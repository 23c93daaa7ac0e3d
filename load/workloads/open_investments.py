"""Open investments: everything that has to exist before money can be invested.

Some journeys also use their idempotency keys as honest and careless clients do: they ask again, ask
for something else with an old key, or happen to have drawn the key that another user has.
"""

from collections.abc import Mapping
from dataclasses import replace

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, learned, repeated, workload
from load.workloads.fund_users import ASKS_AGAIN, fund_users

# Which journeys of each ten do it; these two are neighbours, for they share a key.
OTHER_PAYLOAD, KEY_OF_THE_ONE_BEFORE = 3, 4
# Amounts from here on are only ever asked for with a key that belongs to another request.
_NEVER_ACCEPTED = 2_500


@workload("open-investments")
def open_investments(cast: Cast, number: int, known: Known, params: Mapping[str, str]) -> Journey:
    """A user is created and funded, then opens one investment."""
    yield from fund_users(cast, number, known, params)
    return (yield from create_investment(cast, number))


def create_investment(cast: Cast, number: int) -> Journey:
    """The one investment of a journey, not yet executed."""
    habit = number % 10
    opened = achieved(
        (
            yield cast.operation(
                "create-investment",
                number,
                key=number - 1 if habit == KEY_OF_THE_ONE_BEFORE else number,
                amount_minor=cast.amount_minor(number),
                params={"instrument": "FUND-A"},
            )
        )
    )
    if habit == ASKS_AGAIN:
        achieved((yield repeated(cast, opened)))
    if habit == OTHER_PAYLOAD:
        other = repeated(cast, opened)
        # Being refused is the right end of it, so nothing is required here.
        yield replace(
            other,
            id=f"{other.id}-otherwise",
            amount_minor=cast.amount_minor(_NEVER_ACCEPTED + number),
        )
    return {"investment": learned(opened, "investment")}
