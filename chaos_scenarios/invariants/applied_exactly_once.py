"""Each money operation, counted by its unique amount in the books that it must change."""

from harness.core.verdict import Judgement, Tally
from harness.oracle.bounds import claims
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.standings import standing_faults
from harness.oracle.strays import strange_kinds, unasked


@invariant("applied-exactly-once", kind="safety")
def applied_exactly_once(case: Case) -> Judgement:
    """Every acknowledged operation took effect exactly once, every refused one never.

    An unknown outcome allows one effect at most, and what nobody asked for none; effects are the
    user's own. What was accepted is only dropped for a reason that somebody else knows. Each
    business row has the transactions of its state: without success all that moved is back.
    """
    tally = Tally()
    own = {record.operation.id for record in case.operations}
    for claim in claims(case):
        tally.checked += any(record.operation.id in own for record in claim.operations)
        for key, title in claim.violations():
            tally.findings.append(claim.finding(case, key, title))
    tally.findings += [*unasked(case), *strange_kinds(case), *standing_faults(case)]
    return tally.judgement()
