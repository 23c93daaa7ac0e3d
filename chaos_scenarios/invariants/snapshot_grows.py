"""The ledger of yesterday is part of the ledger of today."""

from collections import Counter

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.ledger import money


@invariant("snapshot-grows", kind="safety")
def snapshot_grows(case: Case) -> Judgement:
    """The ledger only grows: every posting of the earlier snapshot is in the later, unchanged."""
    if "before" not in case.moments:
        return Judgement(0, unknown=("the books were not read in full before the faults",))
    tally = Tally(checked=len(case.before.postings))
    for leg, times in (Counter(case.before.postings) - Counter(case.after.postings)).items():
        now = [p for p in case.after.postings if p.transaction == leg.transaction]
        found = Finding(
            "a posting was changed or removed",
            "posting-changed" if now else "posting-removed",
            f"{leg.kind} {leg.subject}",
            expected=f"{leg.side} {money(leg.amount_minor, leg.currency)} on {leg.account}",
            actual="; ".join(f"{p.side} {p.amount_minor} on {p.account}" for p in now)
            or f"{times} × gone (transaction {leg.transaction})",
            weight=leg.amount_minor,
        )
        tally.findings.append(found)
    return tally.judgement()
