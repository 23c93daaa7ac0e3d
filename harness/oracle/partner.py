"""The partner's orders beside the target's: joined by amount, and summed up."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from harness.core.books import Posting
from harness.oracle.case import Case
from harness.oracle.ledger import money, net


@dataclass(frozen=True)
class Execution:
    """One amount: the partner's orders of it and the target's executed subjects."""

    amount_minor: int
    currency: str
    orders: tuple[str, ...]
    subjects: tuple[str, ...]
    quiet: bool

    @property
    def subject(self) -> str:
        """Its name in a finding."""
        amount = money(self.amount_minor, self.currency)
        return f"{self.subjects[0] if self.subjects else 'partner order'} of {amount}"

    @property
    def sides(self) -> str:
        """What either side has."""
        orders, subjects = ", ".join(self.orders), ", ".join(self.subjects)
        return f"partner: {orders or 'nothing'}; target: {subjects or 'nothing'}"

    @property
    def under_way(self) -> bool:
        """Whether one side may still follow the other."""
        return not self.quiet and len(self.orders) + len(self.subjects) == 1

    @property
    def fault(self) -> tuple[str, str] | None:
        """What is wrong, as key and title."""
        if not self.orders:
            return "unknown-to-partner", "executed according to the target alone"
        if not self.subjects:
            return "unknown-to-target", "executed according to the partner alone"
        if len(self.orders) > 1:
            return "executed-twice", "executed more than once at the partner"
        if len(self.subjects) > 1:
            return "one-order-for-two", "one order of the partner stands for several subjects"
        return None


def executions(case: Case) -> list[Execution]:
    """All amounts that either side executed."""
    success = {(e.subject_kind, e.terminal_state) for e in case.rules.effects if e.partner}
    orders: dict[tuple[int, str], list[str]] = defaultdict(list)
    subjects: dict[tuple[int, str], list[str]] = defaultdict(list)
    for order in case.after.partner_orders:
        orders[(order.amount_minor, order.currency)].append(order.order)
    for subject in case.after.subjects:
        if (subject.kind, subject.state) in success:
            name = f"{subject.kind} {subject.id}"
            subjects[(subject.amount_minor, subject.currency)].append(name)
    return [
        Execution(*key, tuple(orders.get(key, ())), tuple(subjects.get(key, ())), case.quiet)
        for key in sorted({*orders, *subjects})
    ]


def positions(case: Case) -> Iterator[tuple[str, dict[str, int], dict[str, int]]]:
    """What is summed, the partner's sums and the ledger's.

    The names of instruments need not be those of ledger accounts, so sums are compared by rank;
    accounts are compared by name where the partner's are the owners of the target's subjects.
    """
    accounts, orders = case.rules.accounts, case.after.partner_orders
    if accounts.position:
        held = net(_legs(case, accounts.position), lambda leg: f"{leg.account} {leg.currency}")
        by_instrument = Counter[str]()
        for order in orders:
            by_instrument[f"{order.instrument} {order.currency}"] += order.amount_minor
        yield "positions", _ranked(by_instrument.values()), _ranked(held.values())
    if accounts.invested:
        owner_of = {subject.id: subject.owner for subject in case.after.subjects}
        named = {order.account for order in orders} <= set(owner_of.values())
        by_account = Counter[str]()
        for order in orders:
            by_account[f"{order.account if named else 'all'} {order.currency}"] += (
                order.amount_minor
            )
        owner = partial(_owner, owner_of=owner_of if named else None)
        invested = net(_legs(case, accounts.invested), owner)
        yield "invested amounts", dict(by_account), {k: -value for k, value in invested.items()}


def differences(partner: dict[str, int], ledger: dict[str, int]) -> str:
    """Where two sets of sums differ, the first few by name; empty when they do not."""
    names = sorted(
        name for name in {*partner, *ledger} if partner.get(name, 0) != ledger.get(name, 0)
    )
    told = [f"{n}: partner {partner.get(n, 0)}, ledger {ledger.get(n, 0)}" for n in names[:5]]
    return "; ".join(told) + (f"; and {len(names) - 5} more" if len(names) > 5 else "")


def _owner(leg: Posting, *, owner_of: dict[str, str] | None) -> str:
    owner = "all" if owner_of is None else owner_of.get(leg.subject, leg.subject)
    return f"{owner} {leg.currency}"


def _legs(case: Case, account_class: str) -> list[Posting]:
    return [leg for leg in case.after.postings if leg.account_class == account_class]


def _ranked(sums: Iterable[int]) -> dict[str, int]:
    by_size = enumerate(sorted(sums, reverse=True), start=1)
    return {f"instrument {rank} by size": value for rank, value in by_size}
