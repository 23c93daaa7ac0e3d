"""Whether the system was busy when it was hit."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant

OTHERS_MIN = 20


@invariant("others-in-flight", kind="control")
def others_in_flight(case: Case) -> Judgement:
    """When each fault bit, at least twenty other executions were under way."""
    kinds = [effect.operation_kind for effect in case.rules.effects if effect.partner]
    load = [record for record in case.under_load() if record.attempts]
    ends: dict[int, int] = {}
    for record in load:
        number = record.operation.number
        ends[number] = max(ends.get(number, 0), record.attempts[-1].done_ns)
    tally, least = Tally(), None
    aims = {fault.fault: fault.operation for fault in case.faults}
    for proof in case.proofs:
        if not proof.bit or not proof.at_ns:
            tally.unknown.append(f"nobody can tell when {proof.fault} bit")
            continue
        tally.checked += 1
        others = sum(
            record.attempts[0].sent_ns <= proof.at_ns <= ends[record.operation.number]
            for record in load
            if record.operation.kind in kinds and record.operation.id != aims.get(proof.fault)
        )
        least = others if least is None else min(least, others)
        if others < OTHERS_MIN:
            title, expected = "too few executions in flight", f"{OTHERS_MIN} or more"
            found = Finding(title, "few", proof.fault, expected, str(others), at_ns=proof.at_ns)
            tally.findings.append(found)
    return tally.judgement(f"at least {least} in flight" if least is not None else "")
