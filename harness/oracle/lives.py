"""Lives: the recorded steps of a business row, held against its lifecycle."""

from collections.abc import Iterator
from itertools import pairwise

from harness.core.books import Lifecycle, Transition

Fault = tuple[str, str, str]


def faults_of_life(cycle: Lifecycle, steps: list[Transition], state: str | None) -> Iterator[Fault]:
    """What is illegal in one life, as key, what was expected, what was found.

    A first step from nowhere (an empty source) is a birth; without one the first source is.
    `state` is the row's own, None when there is no such row.
    """
    if state is None:
        yield "steps-without-a-row", "a row for the recorded steps", f"{len(steps)} steps"
    born = state if not steps else (steps[0].source or steps[0].to)
    if born is not None and born not in cycle.starts:
        yield "illegal-start", " or ".join(cycle.starts), born
    for step in steps:
        edge = (step.source, step.to)
        if step.source in cycle.terminal:
            yield "left-a-terminal-state", f"{step.source} for ever", f"{step.source} → {step.to}"
        elif edge not in cycle.edges and (step.source or step is not steps[0]):
            yield "illegal-step", "an edge of the lifecycle", f"{step.source} → {step.to}"
    for earlier, later in pairwise(steps):
        if earlier.to != later.source:
            yield "broken-life", f"a step from {earlier.to}", f"{later.source} → {later.to}"
    if steps and state is not None and steps[-1].to != state:
        yield "row-differs-from-its-steps", steps[-1].to, state
