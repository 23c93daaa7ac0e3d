"""Distribute dividends: one sum comes in and is shared out among all who invested."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, known_before, learned, repeated, workload

# Amounts from here on are only ever those of dividends.
_DIVIDENDS = 4_000


@workload("distribute-dividends")
def distribute_dividends(
    cast: Cast, number: int, known: Known, _params: Mapping[str, str]
) -> Journey:
    """An administrator distributes a dividend, waits until it is paid, and then asks again.

    It is the dividend of the instrument of an investment that an earlier phase executed.
    """
    params = {
        "investment": known_before(known, number, "investment"),
        "event": cast.root.child("event", number).uuid(),
        "instrument": "FUND-A",
    }
    accepted = achieved(
        (
            yield cast.operation(
                "distribute-dividends",
                number,
                admin=True,
                amount_minor=cast.amount_minor(_DIVIDENDS + number),
                params=params,
            )
        )
    )
    job = learned(accepted, "job")
    paid = cast.operation(
        "await-job", number, name="await-dividend", key="", admin=True, params={"job": job}
    )
    achieved((yield paid))
    achieved((yield repeated(cast, accepted)))
    return {"dividend": job}
