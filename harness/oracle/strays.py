"""Strays: money in the books that no operation explains, in kinds that no rule knows."""

from collections import defaultdict
from collections.abc import Iterator

from harness.core.books import Rules
from harness.core.verdict import Finding
from harness.oracle.case import Case
from harness.oracle.ledger import money

Watermarks = set[tuple[int, str]]


def unasked(case: Case) -> Iterator[Finding]:
    """Effects whose amount no operation of the kind that has this effect asked for."""
    asked: dict[str, Watermarks] = defaultdict(set)
    for record in case.all_operations:
        op = record.operation
        asked[op.kind].add((op.amount_minor, op.currency))
    rows: dict[str, Watermarks] = defaultdict(set)
    made: dict[str, Watermarks] = defaultdict(set)
    ordered: set[int] = set()
    for effect in case.rules.effects:
        mine = asked[effect.operation_kind]
        if effect.ledger_kind:
            rows[effect.ledger_kind] |= mine
        else:
            made[effect.subject_kind] |= mine
        if effect.partner:
            ordered |= {amount for amount, _ in mine}
    found = [
        (f"{row.kind} {row.subject}", row.id, row.legs[0].amount_minor, row.legs[0].currency)
        for row in case.transactions
        if row.kind in rows and not row.watermarks & rows[row.kind]
    ]
    found += [
        (f"{subject.kind} {subject.id}", subject.state, subject.amount_minor, subject.currency)
        for subject in case.after.subjects
        if subject.kind in made
        and (subject.amount_minor, subject.currency) not in made[subject.kind]
    ]
    found += [
        (f"partner order {order.client_order}", order.order, order.amount_minor, order.currency)
        for order in case.after.partner_orders
        if order.amount_minor not in ordered
    ]
    for subject, id, amount, currency in found:
        yield Finding(
            "out of thin air: no client asked for this amount",
            "out-of-thin-air",
            subject,
            expected="the amount of an operation of this run that has this effect",
            actual=f"{money(amount, currency)} ({id})",
            weight=amount,
        )


def strange_kinds(case: Case) -> Iterator[Finding]:
    """Ledger transactions of a kind that no rule mentions; nothing where rules do not name all."""
    known = _ledger_kinds(case.rules)
    for row in case.transactions if case.rules.standings else ():
        if row.kind not in known:
            legs = "; ".join(f"{x.side} {x.amount_minor} on {x.account}" for x in row.legs)
            yield Finding(
                "a ledger transaction of a kind that no rule allows",
                "unknown-kind",
                f"{row.kind} {row.subject}",
                expected=f"one of {', '.join(sorted(known))}",
                actual=f"{legs} (transaction {row.id})",
                weight=max(leg.amount_minor for leg in row.legs),
            )


def _ledger_kinds(rules: Rules) -> set[str]:
    standing = {kind for s in rules.standings for kind in (*s.once, *s.maybe)}
    effects = {effect.ledger_kind for effect in rules.effects if effect.ledger_kind}
    return standing | effects | {rules.accounts.funding, *rules.other_ledger_kinds}
