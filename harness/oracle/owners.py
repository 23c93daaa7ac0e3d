"""Owners: what each client has, against what the harness itself did for this client."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from harness.core.records import OperationRecord
from harness.oracle.bounds import Claim, claims
from harness.oracle.case import Case
from harness.oracle.ledger import debit_minor, money

Owner = tuple[str, str]


@dataclass(frozen=True)
class Holding:
    """One sum of one client: what it may be, and what it is."""

    key: str
    owner: str
    currency: str
    low_minor: int
    high_minor: int
    actual_minor: int
    operations: tuple[OperationRecord, ...]

    @property
    def off_minor(self) -> int:
        """How far it is outside its bounds; zero when it is within them."""
        nearest = min(max(self.actual_minor, self.low_minor), self.high_minor)
        return self.actual_minor - nearest


def owned(case: Case) -> dict[Owner, Counter[str]]:
    """The sums on client accounts by owner and currency, and class: the cached balance where an
    account has one, else the sum of its entries."""
    sums: dict[tuple[str, str, str, str], int] = Counter()
    for leg in case.after.postings:
        sums[(leg.account, leg.account_class, leg.owner, leg.currency)] -= debit_minor(leg)
    for balance in case.after.balances:
        sign = -1 if balance.normal_side == "D" else 1
        where = (balance.account, balance.account_class, balance.owner, balance.currency)
        sums[where] = sign * balance.amount_minor
    found: dict[Owner, Counter[str]] = defaultdict(Counter)
    for (_, account_class, owner, currency), value in sums.items():
        if account_class in case.rules.accounts.client and value:
            found[(owner, currency)][account_class] += value
    return found


def holdings(case: Case, have: dict[Owner, Counter[str]]) -> Iterator[Holding]:
    """The sums of every client who has, paid in or executed anything."""
    accounts = case.rules.accounts
    funding = claims(case, wanted=lambda effect: effect.ledger_kind == accounts.funding)
    executions = claims(case, wanted=lambda effect: effect.partner)
    paid, used, fees = _bounds(funding), _bounds(executions), _fees(case, executions)
    shares = _shares(case)
    behind: dict[Owner, tuple[OperationRecord, ...]] = defaultdict(tuple)
    for claim in (*funding, *executions):
        behind[(claim.user, claim.currency)] += claim.operations
    places = {*have, *paid, *used, *shares}
    for place in sorted(place for place in places if place[0]):
        sums = have.get(place, Counter())
        low, high = (value + shares[place] - fees[place] for value in paid.get(place, (0, 0)))
        least, most = used.get(place, (0, 0))
        who = behind[place]
        yield Holding("owns-another-sum", *place, low, high, sums.total(), who)
        if accounts.invested:
            invested = sums[accounts.invested]
            yield Holding("invested-another-sum", *place, least, most, invested, who)
        if accounts.wallet:
            free = (low - sums[accounts.reserved] - most, high - sums[accounts.reserved] - least)
            yield Holding("wallet-holds-another-sum", *place, *free, sums[accounts.wallet], who)


def ownerless(case: Case, have: dict[Owner, Counter[str]]) -> Iterator[tuple[str, str]]:
    """Money that must belong to somebody and does not: class, and how much."""
    accounts = case.rules.accounts
    for (owner, currency), sums in have.items():
        for account_class in (accounts.wallet, accounts.reserved, accounts.invested):
            if not owner and account_class and sums[account_class]:
                yield account_class, money(sums[account_class], currency)


def _bounds(found: list[Claim]) -> dict[Owner, tuple[int, int]]:
    least, most = Counter[Owner](), Counter[Owner]()
    for claim in found:
        place = (claim.user, claim.currency)
        least[place] += claim.least * claim.amount_minor
        most[place] += claim.most * claim.amount_minor
    return {place: (least[place], most[place]) for place in most}


def _shares(case: Case) -> Counter[Owner]:
    """What clients were paid of what came in for several of them."""
    shares = Counter[Owner]()
    for subject in case.after.subjects:
        if subject.kind == case.rules.share_kind and subject.terminal:
            shares[(subject.owner, subject.currency)] += subject.amount_minor
    return shares


def _fees(case: Case, executions: list[Claim]) -> Counter[Owner]:
    """What the partner charged, by the client whose operation has the order's amount."""
    users = {claim.amount_minor: claim.user for claim in executions}
    fees = Counter[Owner]()
    for order in case.after.partner_orders:
        fees[(users.get(order.amount_minor, ""), order.currency)] += order.fee_minor
    return fees
