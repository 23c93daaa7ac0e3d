"""Replies: which of the answers to one idempotency key are final."""

from collections.abc import Iterable

from harness.core.history import Attempt, Outcome
from harness.core.records import OperationRecord


def final_replies(group: Iterable[OperationRecord]) -> list[Attempt]:
    """The acknowledgements, and the refusals that were asked for after the first of them.

    A refusal from before may be about something else (not yet visible, not yet allowed); one from
    after contradicts what was told.
    """
    attempts = [attempt for record in group for attempt in record.attempts]
    known = min((a.done_ns for a in attempts if a.outcome is Outcome.OK), default=None)
    if known is None:
        return []
    late = [a for a in attempts if a.outcome is Outcome.FAIL and a.sent_ns > known]
    late += [a for a in attempts if a.outcome is Outcome.OK]
    return sorted(late, key=lambda a: (a.done_ns, a.operation, a.number))
