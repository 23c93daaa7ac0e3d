"""Double entry, taken literally."""

from harness.core.verdict import Finding, Judgement, Tally
from harness.oracle.case import Case
from harness.oracle.invariant import invariant
from harness.oracle.ledger import money, net
from harness.oracle.overdraft import account_faults


@invariant("ledger-balanced", kind="safety")
def ledger_balanced(case: Case) -> Judgement:
    """Every transaction and the whole ledger balance, and no account is wrong or overdrawn."""
    rows, tally = case.transactions, Tally()
    tally.checked = len(rows)

    def found(key: str, subject: str, expected: str, actual: str, weight: int = 0) -> None:
        title = key.replace("-", " ")
        tally.findings.append(Finding(title, key, subject, expected, actual, weight=weight))

    for row in rows:
        name = f"{row.kind} {row.subject} (transaction {row.id})"
        for currency, value in row.imbalance.items():
            off = f"{money(value, currency)} more debit"
            found("transaction-out-of-balance", name, "debits equal credits", off, abs(value))
        if len(row.legs) < 2:
            found("single-leg", name, "two legs or more", row.legs[0].account)
        for leg in row.legs:
            if leg.amount_minor <= 0:
                found("amount-not-positive", name, "above zero", str(leg.amount_minor))
    for currency, value in net(case.after.postings, lambda leg: leg.currency).items():
        off = f"{money(value, currency)} more debit"
        found("ledger-out-of-balance", f"the ledger in {currency}", "zero", off, abs(value))
    for fault in account_faults(case):
        found(*fault)
    return tally.judgement()
