"""Execute investments: the flow in which money leaves the wallet and reaches the partner."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, known_before, learned, repeated, workload

REPEAT_EVERY = 10


@workload("execute-investments")
def execute_investments(
    cast: Cast, number: int, known: Known, _params: Mapping[str, str]
) -> Journey:
    """A user executes an investment that was opened before, and waits for the job.

    Every tenth one then repeats the request with the old key, and must get the old answer.
    """
    executed = achieved(
        (
            yield cast.operation(
                "execute-investment",
                number,
                amount_minor=cast.amount_minor(number),
                params={"investment": known_before(known, number, "investment")},
            )
        )
    )
    job = learned(executed, "job")
    achieved(
        (
            yield cast.operation(
                "await-job", number, name="await-execution", key="", params={"job": job}
            )
        )
    )
    if number % REPEAT_EVERY == 0:
        # A client that never saw its reply, or saw it and forgot, asks again much later.
        achieved((yield repeated(cast, executed)))
    return {"job": job}
