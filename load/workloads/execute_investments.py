"""Execute investments: the flow in which money leaves the wallet and reaches the partner."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, achieved, known_before, learned, workload


@workload("execute-investments")
def execute_investments(
    cast: Cast, number: int, known: Known, _params: Mapping[str, str]
) -> Journey:
    """A user executes an investment that was opened before, and waits for the job."""
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
    return {"job": job}
