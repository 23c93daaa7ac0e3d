"""Bounds: how often an amount may be found in the books, given what its clients were told.

Acknowledged amounts must be there once, refused ones never, unknown ones at most once. Amounts are
unique by design, so an effect is counted without the target's ids and without its dedupe tables.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from harness.core.books import Books, Effect, Subject
from harness.core.history import Outcome, overall
from harness.core.records import OperationRecord
from harness.core.verdict import Finding
from harness.oracle.case import Case
from harness.oracle.ledger import Transaction, money, transactions


@dataclass(frozen=True)
class Claim:
    """The operations of one kind that share one amount, and what the books hold of it.

    `least` and `most` bound the number of effects, `because` says why; `rows` are the target's
    (ledger transactions, or business rows for an effect without a ledger kind), `orders` the
    partner's; `broken` are transactions without all their legs.
    """

    effect: Effect
    amount_minor: int
    currency: str
    operations: tuple[OperationRecord, ...]
    subject: str
    least: int
    most: int
    because: str
    rows: tuple[str, ...]
    orders: tuple[str, ...]
    broken: tuple[str, ...]
    quiet: bool

    def violations(self) -> list[tuple[str, str]]:
        """What is wrong, as key and title."""
        rows, orders, found = len(self.rows), len(self.orders), []
        if self.most == 0:
            return (
                [("applied-after-refusal", "took effect though refused")] if rows + orders else []
            )
        if rows > 1:
            found.append(("applied-twice", "applied more than once"))
        if orders > 1:
            found.append(("executed-twice", "executed more than once at the partner"))
        if self.effect.partner and self.quiet and rows and not orders:
            found.append(("partner-lacks-it", "half applied: booked, but unknown to the partner"))
        elif self.effect.partner and self.quiet and orders and not rows:
            found.append(("ledger-lacks-it", "half applied: executed at the partner, not booked"))
        elif self.least and not rows and not orders:
            found.append(("acknowledged-without-effect", "acknowledged, but without its effect"))
        if self.broken:
            found.append(("legs-missing", "half applied: booked without all its legs"))
        return found

    def finding(self, case: Case, key: str, title: str) -> Finding:
        """One violation, with the operations behind it."""
        times = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        what = f"{len(self.rows)} × {self.effect.ledger_kind or self.effect.subject_kind}"
        if self.effect.partner:
            what += f", {len(self.orders)} × partner order"
        ids = ", ".join(self.broken or (*self.rows, *self.orders))
        return Finding(
            title,
            key,
            self.subject,
            expected=f"{money(self.amount_minor, self.currency)} {times} times: {self.because}",
            actual=what + (f" ({ids})" if ids else ""),
            operation=self.operations[0].operation.id,
            records=case.records_of(self.operations),
            weight=self.amount_minor,
        )


class _Found:
    """The effects in one set of books, by amount."""

    def __init__(self, books: Books) -> None:
        self.rows: dict[tuple[str, int], list[Transaction]] = defaultdict(list)
        self.subjects: dict[tuple[str, int], list[str]] = defaultdict(list)
        self.orders: dict[int, list[str]] = defaultdict(list)
        for row in transactions(books):
            for amount in row.amounts:
                self.rows[(row.kind, amount)].append(row)
        for subject in books.subjects:
            self.subjects[(subject.kind, subject.amount_minor)].append(subject.id)
        for order in books.partner_orders:
            self.orders[order.amount_minor].append(order.order)


def claims(case: Case, *, wanted: Callable[[Effect], bool] = lambda effect: True) -> list[Claim]:
    """The claims of this and all earlier scenarios, in the order of their first operations."""
    effects = [effect for effect in case.rules.effects if wanted(effect)]
    groups: dict[tuple[Effect, int, str], list[OperationRecord]] = defaultdict(list)
    for record in case.all_operations:
        for effect in effects:
            op = record.operation
            if op.kind == effect.operation_kind and op.amount_minor:
                groups[(effect, op.amount_minor, op.currency)].append(record)
    found = _Found(case.after)
    return [
        _claim(case, effect, amount, currency, tuple(group), found)
        for (effect, amount, currency), group in groups.items()
    ]


def _claim(
    case: Case,
    effect: Effect,
    amount: int,
    currency: str,
    group: tuple[OperationRecord, ...],
    found: _Found,
) -> Claim:
    names = dict.fromkeys(record.subject for record in group if record.subject)
    known = [(effect.subject_kind, name) for name in names]
    subjects = [case.subjects[key] for key in known if key in case.subjects]
    least, most, because = _bounds(case, effect, overall([r.outcome for r in group]), subjects)
    rows = found.rows.get((effect.ledger_kind, amount), []) if effect.ledger_kind else []
    name = next(iter(names), group[0].operation.id)
    accounts = case.rules.accounts
    whole = (accounts.position, accounts.invested) if effect.partner else ()
    return Claim(
        effect,
        amount,
        currency,
        group,
        f"{effect.subject_kind or effect.operation_kind} {name}",
        least,
        most,
        because,
        rows=tuple(row.id for row in rows)
        if effect.ledger_kind
        else tuple(found.subjects.get((effect.subject_kind, amount), ())),
        orders=tuple(found.orders.get(amount, ())) if effect.partner else (),
        broken=tuple(
            row.id
            for row in rows
            if row.imbalance or not all(row.touches(part, amount) for part in whole)
        ),
        quiet=case.quiet,
    )


def _bounds(
    case: Case, effect: Effect, outcome: Outcome, subjects: list[Subject]
) -> tuple[int, int, str]:
    if outcome is Outcome.FAIL:
        return 0, 0, "every attempt was refused"
    if subjects and effect.terminal_state:
        states = {subject.state for subject in subjects}
        if effect.terminal_state in states:
            return int(case.quiet), 1, f"its {effect.subject_kind} is {effect.terminal_state}"
        if all(subject.terminal for subject in subjects):
            return 0, 0, f"its {effect.subject_kind} ended {', '.join(sorted(states))}"
    if outcome is Outcome.OK:
        return int(case.quiet), 1, "it was acknowledged"
    return 0, 1, "nobody knows its outcome"
