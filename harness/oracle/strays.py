"""Strays: money in the books that no operation explains."""

from collections import defaultdict
from collections.abc import Iterator

from harness.core.books import Posting
from harness.core.verdict import Finding
from harness.oracle.case import Case
from harness.oracle.ledger import money, net, transactions


def unasked(case: Case) -> Iterator[Finding]:
    """Effects in the ledger or at the partner whose amount no operation of the run has."""
    asked = {record.operation.amount_minor for record in case.all_operations}
    kinds = {effect.ledger_kind for effect in case.rules.effects}
    found = [
        (f"{row.kind} {row.subject}", row.id, row.legs[0].amount_minor, row.legs[0].currency)
        for row in transactions(case.after)
        if row.kind in kinds and not row.amounts & asked
    ]
    found += [
        (f"partner order {order.client_order}", order.order, order.amount_minor, order.currency)
        for order in case.after.partner_orders
        if order.amount_minor not in asked
    ]
    for subject, id, amount, currency in found:
        yield Finding(
            "out of thin air: no client asked for this amount",
            "out-of-thin-air",
            subject,
            expected="the amount of an operation of this run",
            actual=f"{money(amount, currency)} ({id})",
            weight=amount,
        )


def kept(case: Case) -> Iterator[Finding]:
    """Subjects that ended without success although money that they moved was not given back."""
    success = {effect.subject_kind: effect.terminal_state for effect in case.rules.effects}
    legs: dict[str, list[Posting]] = defaultdict(list)
    for leg in case.after.postings:
        legs[leg.subject].append(leg)
    for subject in case.after.subjects:
        if not subject.terminal or subject.state == success.get(subject.kind, subject.state):
            continue
        for name, value in net(legs[subject.id], lambda leg: leg.account_class).items():
            yield Finding(
                "ended without success, but its money was not given back",
                "not-given-back",
                f"{subject.kind} {subject.id}",
                expected=f"{subject.state}: every account as before",
                actual=f"{money(abs(value), subject.currency)} off in {name}",
                weight=abs(value),
            )
