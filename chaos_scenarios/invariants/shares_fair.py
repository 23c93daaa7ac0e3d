"""What came in for many clients, against what each of them has at the partner."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.distributions import distributions
from harness.oracle.invariant import invariant
from harness.oracle.ledger import money


@invariant("shares-fair", kind="safety")
def shares_fair(case: Case) -> Judgement:
    """Each distribution is paid out to the last unit, to each by what the partner executed."""
    tally = Tally()
    for found in distributions(case):
        tally.checked += 1
        name = f"{found.row.kind} {found.row.subject}"
        total = money(found.total_minor, found.currency)
        paid = found.paid_minor
        if paid > found.total_minor or (case.quiet and paid != found.total_minor):
            off = abs(paid - found.total_minor)
            title, key = "not paid out to the last unit", "wrong-sum"
            tally.findings.append(Finding(title, key, name, total, str(paid), weight=off))
        if not case.quiet or not found.orders:
            tally.unknown.append(f"{name}: nobody can tell who had invested how much by then")
            continue
        for owner, least, most, actual in found.unfair():
            tally.findings.append(
                Finding(
                    "a client got another share than the one of its investments",
                    "wrong-share",
                    f"{name}, user {owner}",
                    expected=f"{least} to {most} of {total}",
                    actual=str(actual),
                    records=case.records_of([found.operation] if found.operation else []),
                    weight=max(least - actual, actual - most),
                )
            )
    return tally.judgement()
