"""The control group of a run with faults."""

from collections import defaultdict

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.journeys import Exchange, aimless, bystanders, deviation, exchange


@invariant("bystanders-undisturbed", kind="control")
def bystanders_undisturbed(case: Case) -> Judgement:
    """Journeys without a fault ran as if there were none: one attempt, the usual messages."""
    if aimless(case):
        return Judgement(0, unknown=(f"faults hit everybody: {', '.join(aimless(case))}",))
    baseline: dict[str, list[Exchange]] = defaultdict(list)
    for record in case.under_load(phase="baseline"):
        if seen := exchange(case, record):
            baseline[record.operation.kind].append(seen)
    tally = Tally()
    for record in bystanders(case):
        tally.checked += 1
        op, usual = record.operation, baseline.get(record.operation.kind)
        if usual is None:
            tally.unknown.append(f"the baseline shows no exchange of {op.kind}")
            continue
        actual = deviation(case, exchange(case, record), usual)
        if len(record.attempts) != 1:
            actual = f"{len(record.attempts)} attempts"
        if actual:
            title, records = "a bystander deviated", case.records_of([record])
            expected = "one attempt and an exchange of the baseline"
            found = Finding(title, "deviated", op.id, expected, actual, op.id, records=records)
            tally.findings.append(found)
    tally.unknown = sorted(set(tally.unknown))
    return tally.judgement(f"{len(tally.findings)} of {tally.checked} bystanders deviated")
