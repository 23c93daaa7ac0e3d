"""Create and execute: the whole flow of a user whose money is already there."""

from collections.abc import Mapping

from harness.core.cast import Cast
from load.workload import Journey, Known, workload
from load.workloads.execute_investments import execute_investments
from load.workloads.open_investments import create_investment


@workload("create-and-execute")
def create_and_execute(
    cast: Cast, number: int, _known: Known, params: Mapping[str, str]
) -> Journey:
    """A funded user opens an investment, executes it and waits for the job."""
    opened = yield from create_investment(cast, number)
    return (yield from execute_investments(cast, number, {number: opened}, params))
