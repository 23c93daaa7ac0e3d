"""What clients own, against what the harness itself paid in."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.bounds import claims
from harness.oracle.case import Case
from harness.oracle.deposits import paid_in, unequal_sums
from harness.oracle.invariant import invariant


@invariant("money-conserved", kind="safety")
def money_conserved(case: Case) -> Judgement:
    """Clients own exactly what was paid in, deposit by deposit and in sum, and assets cover it.

    What was paid in to be shared out among clients, such as dividends, is theirs too.
    """
    inflows = case.rules.accounts.inflows
    deposits = claims(case, wanted=lambda effect: effect.ledger_kind in inflows)
    tally = Tally(checked=len(deposits))
    for claim in deposits:
        for key, title in claim.violations():
            found = claim.finding(case, f"deposit-{key}", f"deposit {title}")
            tally.findings.append(found)
    bounds = paid_in(deposits)
    for key, currency, expected, actual, off in unequal_sums(case, bounds):
        title = key.replace("-", " ")
        tally.findings.append(
            Finding(title, key, f"the ledger in {currency}", expected, actual, weight=off)
        )
    return tally.judgement()
