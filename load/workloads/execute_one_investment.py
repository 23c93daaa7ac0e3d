"""Execute one investment from many clients at once."""

from collections.abc import Mapping

from harness.core.cast import Cast
from harness.core.history import Outcome
from load.workload import Journey, Known, achieved, known_before, workload


@workload("execute-one-investment")
def execute_one_investment(
    cast: Cast, number: int, known: Known, params: Mapping[str, str]
) -> Journey:
    """Many clients execute the same investment at the same time, once each.

    Journey `number` belongs to round `number // clients`; the round's investment, user and amount
    are those of journey `round` of the phase that opened the investments. In even rounds all
    clients share one idempotency key, in odd rounds each has its own. Being refused is a fine
    end; who was accepted waits for the job.
    """
    round_number = number // int(params["clients"])
    shared_key = round_number % 2 == 0
    executed = yield cast.operation(
        "execute-investment",
        number,
        user=round_number,
        key=f"round-{round_number}" if shared_key else number,
        amount_minor=cast.amount_minor(round_number),
        params={"investment": known_before(known, round_number, "investment")},
    )
    job = executed.reading.learned.get("job")
    if executed.outcome is not Outcome.OK or not job:
        return {}
    achieved(
        (
            yield cast.operation(
                "await-job",
                number,
                name="await-execution",
                key="",
                params={"job": job},
                user=round_number,
            )
        )
    )
    return {"job": job}
