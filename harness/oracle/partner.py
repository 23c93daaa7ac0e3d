"""The partner's orders beside the target's: joined by amount, and summed up."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.core.books import PartnerOrder, Posting
from harness.core.history import Outcome
from harness.oracle.bounds import Claim, claims
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

    By instrument and by owner where the rules say that orders name them, else over all.
    """
    rules, orders = case.rules, case.after.partner_orders
    accounts = rules.accounts
    if accounts.position:
        named = bool(rules.instrument_param)
        ordered = _sums((o.instrument if named else "all", o) for o in orders)
        legs = _legs(case, accounts.position)
        yield "positions", ordered, net(legs, lambda x: _name(x.instrument if named else "", x))
    if accounts.invested:
        named = rules.partner_account_is_owner
        ordered = _sums((o.account if named else "all", o) for o in orders)
        legs = _legs(case, accounts.invested)
        invested = net(legs, lambda leg: _name(leg.owner if named else "", leg))
        yield "invested amounts", ordered, {k: -value for k, value in invested.items()}


def misaddressed(case: Case) -> Iterator[tuple[str, Claim, str, str, str]]:
    """Orders for another account, instrument or currency than their operations asked for.

    Each is a key (empty where nobody knows what was asked for), the claim, the order, what was
    asked for, and what the order says.
    """
    rules = case.rules
    asked = {claim.amount_minor: claim for claim in claims(case, wanted=lambda e: e.partner)}
    instruments = _instruments(case)
    for order in case.after.partner_orders:
        claim = asked.get(order.amount_minor)
        if claim is None:
            continue
        name = f"{claim.subject}, partner order {order.client_order}"
        if rules.partner_account_is_owner and order.account != claim.user:
            own, other = f"account {claim.user}", f"account {order.account}"
            yield "another-account", claim, name, own, other
        if order.currency != claim.currency:
            yield "another-currency", claim, name, claim.currency, order.currency
        names = {record.subject or record.operation.id for record in claim.operations}
        wanted = {text for part in names for text in instruments.get(part, ())}
        if rules.instrument_param and order.instrument not in wanted:
            key = "another-instrument" if wanted else ""
            yield key, claim, name, " or ".join(sorted(wanted)), order.instrument


def _instruments(case: Case) -> dict[str, set[str]]:
    """The instruments that operations asked for, by subject, or operation where there is none."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in case.all_operations:
        text = record.operation.params.get(case.rules.instrument_param)
        if text and record.outcome is not Outcome.FAIL:
            found[record.subject or record.operation.id].add(text)
    return found


def differences(partner: dict[str, int], ledger: dict[str, int]) -> str:
    """Where two sets of sums differ, the first few by name; empty when they do not."""
    names = sorted(
        name for name in {*partner, *ledger} if partner.get(name, 0) != ledger.get(name, 0)
    )
    told = [f"{n}: partner {partner.get(n, 0)}, ledger {ledger.get(n, 0)}" for n in names[:5]]
    return "; ".join(told) + (f"; and {len(names) - 5} more" if len(names) > 5 else "")


def _sums(named: Iterable[tuple[str, PartnerOrder]]) -> dict[str, int]:
    sums = Counter[str]()
    for name, order in named:
        sums[f"{name} {order.currency}"] += order.amount_minor
    return dict(sums)


def _name(text: str, leg: Posting) -> str:
    return f"{text or 'all'} {leg.currency}"


def _legs(case: Case, account_class: str) -> list[Posting]:
    return [leg for leg in case.after.postings if leg.account_class == account_class]
