"""Completeness: whether the journal holds what was done, for what is missing shows nothing."""

from collections import Counter
from collections.abc import Iterator

from harness.core.records import ScenarioPlan
from harness.oracle.case import Case


def gaps(planned: ScenarioPlan, case: Case) -> Iterator[str]:
    """Why the journal holds less of a scenario than was planned and done."""
    load = case.under_load()
    journeys = {record.operation.number for record in load}
    if len(journeys) < planned.load.count:
        missing = planned.load.count - len(journeys)
        yield f"the journal holds nothing of {missing} of {planned.load.count} journeys under load"
    if len(load) < planned.operations_min:
        yield f"{len(load)} operations under load, where {planned.operations_min} are the least"
    recorded = Counter(record.phase for record in case.operations)
    for phase, counted in case.counted.items():
        if recorded[phase] != counted:
            yield f"the journal holds {recorded[phase]} of {counted} operations in {phase}"
    unknown = {part.trace for part in case.exchanges} - {r.operation.trace for r in case.operations}
    if unknown:
        yield f"the journal holds messages of {len(unknown)} traces without their operations"
