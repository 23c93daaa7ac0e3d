"""Each money operation, counted by its unique amount in the books that it must change."""

from harness.core.verdict import Judgement, Tally
from harness.oracle.bounds import claims
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.strays import kept, unasked


@invariant("applied-exactly-once", kind="safety")
def applied_exactly_once(case: Case) -> Judgement:
    """Every acknowledged operation took effect exactly once, every refused one never.

    An unknown outcome allows one effect at most, and what nobody asked for none. A subject that
    ended without success has no effect and gave back whatever it had moved.
    """
    tally = Tally()
    own = {record.operation.id for record in case.operations}
    for claim in claims(case):
        tally.checked += any(record.operation.id in own for record in claim.operations)
        for key, title in claim.violations():
            tally.findings.append(claim.finding(case, key, title))
    tally.findings += [*unasked(case), *kept(case)]
    return tally.judgement()
