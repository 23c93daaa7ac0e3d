"""The limits of a run: what it did not show. Never empty."""

from collections.abc import Mapping

from harness.core.records import PlanRecord, ScenarioPlan
from harness.oracle.case import Case

_STANDING = (
    "A run like this can catch an error; that it caught none does not prove that there is none."
)


def limits(plan: PlanRecord, cases: Mapping[str, Case]) -> list[str]:
    """Sentences for readers who must know what a verdict does not cover."""
    found = [_STANDING]
    if plan.variant:
        found.append(f"The code judged is the variant {plan.variant}, not the target as it is.")
    if plan.unused_scenarios:
        found.append(f"Scenarios not in this run: {', '.join(plan.unused_scenarios)}.")
    if plan.unused_faults:
        found.append(f"Kinds of fault not in this run: {', '.join(plan.unused_faults)}.")
    for scenario in plan.scenarios:
        found += _sample(plan, scenario, cases.get(scenario.name))
    return found


def _sample(plan: PlanRecord, scenario: ScenarioPlan, case: Case | None) -> list[str]:
    if case is None or not case.phases:
        return [f"{scenario.name} did not run."]
    load = case.under_load()
    kinds = sorted({fault.name for fault in scenario.faults})
    faults = (
        f"{len(scenario.faults)} faults of the kinds {', '.join(kinds)}"
        if kinds
        else ("no fault at all")
    )
    found = [
        f"{scenario.name} is one sample: {len(load)} operations by {scenario.load.clients} clients"
        f" at a time, with {faults}, in the one order that seed {plan.seed} and this machine gave."
    ]
    unresolved = len(case.unresolved())
    if unresolved:
        found.append(f"{scenario.name} left {unresolved} outcomes that nobody could tell.")
    return found
