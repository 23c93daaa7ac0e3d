"""The life of each business row, step by step."""

from collections import defaultdict

from harness.core.books import Transition
from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.lives import faults_of_life


@invariant("states-legal", kind="safety")
def states_legal(case: Case) -> Judgement:
    """Every business row lives by its lifecycle: legal start, legal steps, and no way back."""
    tally = Tally()
    lives: dict[tuple[str, str], list[Transition]] = defaultdict(list)
    for step in sorted(case.after.transitions, key=lambda step: step.order):
        lives[(step.kind, step.id)].append(step)
    for cycle in case.rules.lifecycles:
        states = {key: s.state for key, s in case.subjects.items() if key[0] == cycle.kind}
        lived = [key for key in lives if key[0] == cycle.kind]
        for key in dict.fromkeys([*states, *lived]):
            tally.checked += 1
            for fault, expected, actual in faults_of_life(cycle, lives[key], states.get(key)):
                title = fault.replace("-", " ")
                name = " ".join(key)
                tally.findings.append(Finding(title, fault, name, expected, actual))
    return tally.judgement()
