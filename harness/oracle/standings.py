"""Standings: what the ledger shows of a business row, held against what its state stands for."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from harness.core.books import Posting, Standing, Subject
from harness.core.verdict import Finding
from harness.oracle.case import Case
from harness.oracle.ledger import Transaction, debit_minor, money


def promised(case: Case) -> dict[str, tuple[Subject, Standing]]:
    """The rows in a state for which the target says what the ledger shows, by id.

    None before all is over: a target may book first and move the row then.
    """
    if not case.quiet:
        return {}
    rules = {(rule.subject_kind, rule.state): rule for rule in case.rules.standings}
    return {
        subject.id: (subject, rules[(subject.kind, subject.state)])
        for subject in case.after.subjects
        if (subject.kind, subject.state) in rules
    }


def standing_faults(case: Case) -> Iterator[Finding]:
    """Rows whose transactions are not those of their state, and transactions without a row."""
    rows: dict[str, list[Transaction]] = defaultdict(list)
    for row in case.transactions:
        rows[row.subject].append(row)
    for id, (subject, rule) in promised(case).items():
        operations = case.about.get(id, [])
        for found in _faults(subject, rule, rows[id]):
            yield replace(
                found,
                operation=operations[0].operation.id if operations else "",
                records=case.records_of(operations),
            )
    standing = {kind for rule in case.rules.standings for kind in (*rule.once, *rule.maybe)}
    kinds = {rule.subject_kind for rule in case.rules.standings}
    ids = {subject.id for subject in case.after.subjects if subject.kind in kinds}
    for id, orphans in rows.items():
        for row in orphans if case.quiet and id not in ids else ():
            if row.kind in standing:
                title, actual = "a ledger transaction about nothing", f"transaction {row.id}"
                name = f"{row.kind} {id}"
                yield Finding(title, "without-a-row", name, "the row that it is about", actual)


def _faults(subject: Subject, rule: Standing, rows: list[Transaction]) -> Iterator[Finding]:
    name = f"{subject.kind} {subject.id}"
    expected, actual = _kinds(rule, rows)
    if actual:
        title = "its transactions are not those that its state stands for"
        yield Finding(title, "wrong-transactions", name, expected, actual)
    legs = [leg for row in rows for leg in row.legs]
    yield from _net_faults(subject, rule, name, legs)
    for leg in legs:
        if leg.owner and leg.owner != subject.owner:
            title, own = "it moved the money of another client", f"accounts of user {subject.owner}"
            other = f"{leg.account} of user {leg.owner} (transaction {leg.transaction})"
            yield Finding(title, "anothers-money", name, own, other, weight=leg.amount_minor)


def _kinds(rule: Standing, rows: list[Transaction]) -> tuple[str, str]:
    """What transactions there must be, and what there is where that differs."""
    counts = Counter(row.kind for row in rows)
    right = all(counts[kind] == 1 for kind in rule.once) and all(
        kind in rule.once or (kind in rule.maybe and count == 1) for kind, count in counts.items()
    )
    allowed = [f"1 × {kind}" for kind in rule.once] + [f"0 or 1 × {kind}" for kind in rule.maybe]
    found = ", ".join(f"{count} × {kind}" for kind, count in sorted(counts.items())) or "none"
    ids = ", ".join(row.id for row in rows[:5])
    return (
        f"{rule.state}: {', '.join(allowed) or 'no transaction'}",
        "" if right else found + (f" (transactions {ids})" if ids else ""),
    )


def _net_faults(
    subject: Subject, rule: Standing, name: str, legs: list[Posting]
) -> Iterator[Finding]:
    """Account classes that moved by another sum than the state stands for."""
    moved: Counter[tuple[str, str]] = Counter()
    for leg in legs:
        moved[(leg.account_class, leg.currency)] -= debit_minor(leg)
    due = {(part, subject.currency): units * subject.amount_minor for part, units in rule.net}
    wrong = [key for key in sorted({*moved, *due}) if moved[key] != due.get(key, 0)]
    if wrong:
        off = max(abs(moved[key] - due.get(key, 0)) for key in wrong)
        yield Finding(
            "its money is not where its state says",
            "wrong-net",
            name,
            expected=f"{rule.state}: " + "; ".join(_told(key, due.get(key, 0)) for key in wrong),
            actual="; ".join(_told(key, moved[key]) for key in wrong),
            weight=off,
        )


def _told(key: tuple[str, str], value_minor: int) -> str:
    return f"{key[0]} {'+' if value_minor > 0 else ''}{money(value_minor, key[1])}"
