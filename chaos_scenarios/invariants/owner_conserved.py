"""What each client owns, against what the harness itself paid in for this client."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.owners import holdings, owned, ownerless


@invariant("owner-conserved", kind="safety")
def owner_conserved(case: Case) -> Judgement:
    """Each client owns what was paid in for this client, and has invested what was executed.

    The sum of a client's money is its deposits and shares without the fees that the partner
    charged; what is neither reserved nor invested is in its wallet.
    """
    have = owned(case)
    if have and not any(owner for owner, _ in have):
        return Judgement(0, unknown=("the books do not say whose money an account holds",))
    tally = Tally()
    for sum_ in holdings(case, have):
        tally.checked += 1
        if sum_.off_minor:
            found = Finding(
                f"{sum_.key.replace('-', ' ')}, not what the operations of this client explain",
                sum_.key,
                f"user {sum_.owner}",
                expected=f"{sum_.low_minor} to {sum_.high_minor} {sum_.currency} minor units",
                actual=f"{sum_.actual_minor} ({sum_.off_minor:+d})",
                operation=sum_.operations[0].operation.id if sum_.operations else "",
                records=case.records_of(sum_.operations),
                weight=abs(sum_.off_minor),
            )
            tally.findings.append(found)
    for account_class, amount in ownerless(case, have):
        title, expected = "money of clients without an owner", "an owner of each account"
        tally.findings.append(Finding(title, "no-owner", account_class, expected, amount))
    return tally.judgement()
