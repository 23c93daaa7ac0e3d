"""Deposits: the sums that the ledger may show, given what the harness paid in."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from harness.oracle.bounds import Claim
from harness.oracle.case import Case
from harness.oracle.ledger import money, net, owed_minor

Bounds = dict[str, tuple[int, int]]
Fault = tuple[str, str, str, str, int]


def paid_in(deposits: Iterable[Claim]) -> Bounds:
    """The least and the most that may have come in, by currency."""
    least: dict[str, int] = defaultdict(int)
    most: dict[str, int] = defaultdict(int)
    for claim in deposits:
        least[claim.currency] += claim.least * claim.amount_minor
        most[claim.currency] += claim.most * claim.amount_minor
    return {currency: (least[currency], most[currency]) for currency in sorted(most)}


def charged(case: Case) -> Counter[str]:
    """The fees that the partner charged, by currency."""
    fees: Counter[str] = Counter()
    for order in case.after.partner_orders:
        fees[order.currency] += order.fee_minor
    return fees


def unequal_sums(case: Case, bounds: Bounds) -> Iterator[Fault]:
    """Sums that no run without a defect shows: key, currency, expected, actual, difference."""
    accounts, postings = case.rules.accounts, case.after.postings
    owed = owed_minor(postings, accounts.client)
    income, fees = owed_minor(postings, accounts.income), charged(case)
    covered = {c: -value for c, value in owed_minor(postings, accounts.external).items()}
    for currency in sorted({*bounds, *owed, *income, *covered}):
        fee, earned = fees.get(currency, 0), income.get(currency, 0)
        low, high = (value - fee for value in bounds.get(currency, (0, 0)))
        have = owed.get(currency, 0)
        if not low <= have <= high:
            off = have - high if have > high else have - low
            culprits = _creators(case, currency)
            actual = f"{off:+d} {currency} minor units{culprits}"
            yield "clients-own-another-sum", currency, f"{low} to {high}", actual, abs(off)
        if earned != fee:
            actual, expected = money(earned, currency), f"{money(fee, currency)} charged"
            yield "fees-nobody-charged", currency, expected, actual, abs(earned - fee)
        gap = covered.get(currency, 0) - have - earned
        if gap:
            actual = f"{gap:+d} {currency} minor units"
            yield "assets-differ-from-liabilities", currency, "equal sums", actual, abs(gap)
    suspense = [leg for leg in postings if leg.account_class == accounts.suspense]
    for currency, value in net(suspense, lambda leg: leg.currency).items():
        actual = money(value, currency)
        yield "suspense-not-empty", currency, "zero", actual, abs(value)


def _creators(case: Case, currency: str) -> str:
    """The transactions that are no deposits but change what clients own."""
    accounts = case.rules.accounts
    ids = [
        f"{row.kind} {row.id}"
        for row in case.transactions
        if row.kind not in accounts.inflows and owed_minor(row.legs, accounts.client).get(currency)
    ]
    return f", changed by {', '.join(ids[:5])}" if ids else ""
