"""Bounds: how often an amount may be found in the books, given what its clients were told.

Acknowledged amounts must be there once, refused ones never, unknown ones at most once. Amounts are
unique by design, so an effect is counted without the target's ids and without its dedupe tables.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from harness.core.books import Effect, PartnerOrder, Subject
from harness.core.history import Outcome, overall
from harness.core.records import OperationRecord
from harness.core.verdict import Finding
from harness.oracle.case import Case
from harness.oracle.evidence import explained, misplaced
from harness.oracle.ledger import Transaction, money

Watermark = tuple[int, str]


@dataclass(frozen=True)
class Claim:
    """The operations of one kind that share one amount, and what the books hold of it.

    `least` and `most` bound the number of effects, `because` says why; `rows` are the target's
    (ledger transactions, or business rows for an effect without a ledger kind), `orders` the
    partner's; `broken` are transactions without all their legs, `misplaced` says which rows are
    somebody else's; `dropped` was accepted and then ended without success or a reason.
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
    misplaced: tuple[str, ...]
    dropped: bool
    quiet: bool

    @property
    def user(self) -> str:
        """Whose operations these are: of several users, the first who was not refused."""
        return _believed(self.operations)[0].operation.user

    def violations(self) -> list[tuple[str, str]]:
        """What is wrong, as key and title."""
        rows, orders, found = len(self.rows), len(self.orders), []
        if self.dropped:
            found.append(("accepted-then-dropped", "accepted, then dropped for no known reason"))
        if self.most == 0:
            if rows + orders:
                found.append(("applied-after-refusal", "took effect though refused"))
            return found
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
        if self.misplaced:
            found.append(("wrong-place", "took effect for another client or another row"))
        return found

    def finding(self, case: Case, key: str, title: str) -> Finding:
        """One violation, with the operations behind it."""
        times = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        what = f"{len(self.rows)} × {self.effect.ledger_kind or self.effect.subject_kind}"
        if self.effect.partner:
            what += f", {len(self.orders)} × partner order"
        ids = ", ".join(self.broken or self.misplaced or (*self.rows, *self.orders))
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
    """The effects in one set of books, by amount and currency."""

    def __init__(self, case: Case) -> None:
        self.rows: dict[tuple[str, Watermark], list[Transaction]] = defaultdict(list)
        self.subjects: dict[tuple[str, Watermark], list[Subject]] = defaultdict(list)
        self.orders: dict[int, list[PartnerOrder]] = defaultdict(list)
        for row in case.transactions:
            for watermark in row.watermarks:
                self.rows[(row.kind, watermark)].append(row)
        for subject in case.after.subjects:
            watermark = (subject.amount_minor, subject.currency)
            self.subjects[(subject.kind, watermark)].append(subject)
        for order in case.after.partner_orders:
            self.orders[order.amount_minor].append(order)


def claims(case: Case, *, wanted: Callable[[Effect], bool] = lambda effect: True) -> list[Claim]:
    """The claims of this and all earlier scenarios, in the order of their first operations."""
    effects = [effect for effect in case.rules.effects if wanted(effect)]
    groups: dict[tuple[Effect, Watermark], list[OperationRecord]] = defaultdict(list)
    for record in case.all_operations:
        for effect in effects:
            op = record.operation
            if op.kind == effect.operation_kind and op.amount_minor:
                groups[(effect, (op.amount_minor, op.currency))].append(record)
    found = _Found(case)
    return [
        _claim(case, effect, watermark, tuple(group), found)
        for (effect, watermark), group in groups.items()
    ]


def _believed(group: tuple[OperationRecord, ...]) -> tuple[OperationRecord, ...]:
    """The operations that may have had the effect; all of them where all were refused."""
    return tuple(record for record in group if record.outcome is not Outcome.FAIL) or group


def _claim(
    case: Case,
    effect: Effect,
    watermark: Watermark,
    group: tuple[OperationRecord, ...],
    found: _Found,
) -> Claim:
    names = dict.fromkeys(record.subject for record in _believed(group) if record.subject)
    known = [(effect.subject_kind, name) for name in names]
    subjects = [case.subjects[key] for key in known if key in case.subjects]
    least, most, because = _bounds(case, effect, group, subjects)
    rows = found.rows.get((effect.ledger_kind, watermark), []) if effect.ledger_kind else []
    made = [] if effect.ledger_kind else found.subjects.get((effect.subject_kind, watermark), [])
    name = next(iter(names), group[0].operation.id)
    accounts = case.rules.accounts
    whole = (accounts.position, accounts.invested) if effect.partner else ()
    orders = found.orders.get(watermark[0], []) if effect.partner else []
    return Claim(
        effect,
        *watermark,
        group,
        f"{effect.subject_kind or effect.operation_kind} {name}",
        least,
        most,
        because,
        rows=tuple(row.id for row in rows or made),
        orders=tuple(order.order for order in orders),
        broken=tuple(
            row.id
            for row in rows
            if row.imbalance or not all(row.touches(part, watermark[0]) for part in whole)
        ),
        misplaced=tuple(misplaced(effect, _believed(group), rows, made, subjects)),
        dropped=overall([record.outcome for record in group]) is Outcome.OK
        and _ended(effect, subjects)
        and not explained(case, effect, group),
        quiet=case.quiet,
    )


def _ended(effect: Effect, subjects: list[Subject]) -> bool:
    """Whether the subjects ended, and none of them with the effect."""
    return bool(effect.terminal_state and subjects) and all(
        subject.terminal and subject.state != effect.terminal_state for subject in subjects
    )


def _bounds(
    case: Case, effect: Effect, group: tuple[OperationRecord, ...], subjects: list[Subject]
) -> tuple[int, int, str]:
    """How often the effect may be there, and why.

    Only attempts that were all refused promise that it is not: a final read that did not find it
    came before the end, and the request may have been under way.
    """
    outcome = overall([record.outcome for record in group])
    refused = all(a.outcome is Outcome.FAIL for record in group for a in record.attempts)
    if outcome is Outcome.FAIL and refused:
        return 0, 0, "every attempt was refused"
    states = sorted({subject.state for subject in subjects})
    if effect.terminal_state and effect.terminal_state in states:
        return int(case.quiet), 1, f"its {effect.subject_kind} is {effect.terminal_state}"
    if _ended(effect, subjects):
        return 0, 0, f"its {effect.subject_kind} ended {', '.join(states)}"
    if outcome is Outcome.OK:
        return int(case.quiet), 1, "it was acknowledged"
    if outcome is Outcome.FAIL:
        return 0, 1, "only a read at the end did not find it"
    return 0, 1, "nobody knows its outcome"
