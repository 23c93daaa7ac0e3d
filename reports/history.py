"""The short history of one operation: what its client saw, and which fault was aimed at it."""

from harness.core.records import OperationRecord
from reports.content import Block, Inline, Table, code
from reports.run import Run
from reports.words import look_of_outcome, span

ATTEMPTS_MAX = 20
_NS_PER_MS = 1_000_000


def attempts(record: OperationRecord | None) -> list[Block]:
    """The exchanges of an operation as a table; nothing when none is known."""
    if record is None or not record.attempts:
        return []
    shown = record.attempts[:ATTEMPTS_MAX]
    rows = tuple(
        (
            str(attempt.number),
            attempt.entry,
            str(attempt.sent_ns // _NS_PER_MS),
            str((attempt.done_ns - attempt.sent_ns) // _NS_PER_MS),
            str(attempt.status) if attempt.status is not None else "no complete reply",
            look_of_outcome(attempt.outcome),
            "; ".join(
                part
                for part in (
                    "the service says that it replayed an earlier answer"
                    if attempt.replayed
                    else "",
                    attempt.error,
                )
                if part
            ),
        )
        for attempt in shown
    )
    more = len(record.attempts) - len(shown)
    return [
        Table(
            f"What the client of {record.operation.id} saw",
            ("Attempt", "Sent to", "At ms", "Took ms", "Status", "Outcome", "Remark"),
            rows,
            numeric=(0, 2, 3),
            note=f"Showing {len(shown)} of {len(record.attempts)}." if more > 0 else "",
        )
    ]


def fault_on(run: Run, scenario: str, operation: str) -> Inline:
    """The faults aimed at an operation, or those of its scenario when none was aimed at it."""
    faults = [fault for s, fault in run.faults if s.name == scenario]
    aimed = [fault for fault in faults if operation and fault.operation == operation]
    if aimed:
        fault = aimed[0]
        bit = "it bit" if fault.bit else "it did not bite"
        window = span(fault.from_ms, fault.until_ms)
        return (code(fault.name), " on ", code(fault.link), f" · {bit} · in place {window}")
    if not faults:
        return "none in this scenario"
    names = ", ".join(dict.fromkeys(f"{fault.name} on {fault.link}" for fault in faults))
    return f"none aimed at this operation; in the scenario: {names}"
