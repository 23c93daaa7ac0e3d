"""Evidence about one effect: whose it is, and why an accepted operation may end without it."""

from collections.abc import Iterable, Iterator

from harness.core.books import Effect, Subject
from harness.core.history import Outcome
from harness.core.records import OperationRecord
from harness.oracle.case import Case
from harness.oracle.ledger import Transaction

REJECTED = "rejected"


def misplaced(
    effect: Effect,
    group: Iterable[OperationRecord],
    rows: Iterable[Transaction],
    made: Iterable[Subject],
    subjects: Iterable[Subject],
) -> Iterator[str]:
    """What belongs to somebody else than the users of the operations, or to another subject.

    `rows` and `made` are the transactions and subjects with the amount that was asked for,
    `subjects` those that the operations were told.
    """
    operations = [record.operation for record in group]
    users = {op.user for op in operations}
    amounts = {0, *(op.amount_minor for op in operations)}
    names = {record.subject for record in group if record.subject and effect.subject_kind}
    for row in rows:
        if names and row.subject not in names:
            yield f"transaction {row.id} is about {row.subject}"
        for leg in row.legs:
            if leg.owner and leg.owner not in users:
                yield f"transaction {row.id} moves {leg.account} of user {leg.owner}"
    for subject in made:
        if names and subject.id not in names:
            yield f"{subject.kind} {subject.id}, not what was told"
    for subject in {s.id: s for s in (*made, *subjects)}.values():
        if subject.owner and subject.owner not in users:
            yield f"{subject.kind} {subject.id} is of user {subject.owner}"
        if subject.amount_minor not in amounts:
            yield f"{subject.kind} {subject.id} is about {subject.amount_minor} minor units"


def explained(case: Case, effect: Effect, group: Iterable[OperationRecord]) -> bool:
    """Whether somebody else than the target says why: the partner refused, or a client asked."""
    operations = [record.operation for record in group]
    amounts = {op.amount_minor for op in operations}
    traces = {op.trace for op in operations if op.trace}
    if effect.partner and any(
        event.event == REJECTED and (event.amount_minor in amounts or event.trace in traces)
        for event in case.after.partner_events
    ):
        return True
    names = {record.subject for record in group if record.subject}
    return any(
        record.operation.kind == effect.cancelled_by
        and record.outcome is not Outcome.FAIL
        and names & {record.subject, *record.operation.params.values()}
        for record in case.all_operations
    )
