"""What stands behind a finding: the transfer, the moment, the fault, the attempts, the records."""

from harness.core.history import Outcome
from harness.core.records import OperationRecord
from harness.core.run_record import ExampleRecord, FindingRecord
from reports.content import Block, Facts, Inline, Span, Table, code
from reports.run import Run, slug
from reports.words import money, sentence, span

EXAMPLES_MAX = 20
ATTEMPTS_MAX = 20
RECORDS_MAX = 12
_NS_PER_MS = 1_000_000
_OUTCOMES: dict[Outcome, str | Span] = {
    Outcome.OK: "ok",
    Outcome.FAIL: "refused",
    Outcome.INFO: Span("unknown", tone="unsure"),
}


def headline(run: Run, finding: FindingRecord) -> Facts:
    """The worst finding in three lines: what broke, where, when."""
    title = Span(sentence(finding.title), href=f"#finding-{slug(finding.id)}", tone="strong")
    rows: list[tuple[str, Inline]] = [("What broke", title)]
    scenario = (code(finding.scenario), " × ", code(finding.invariant))
    if not finding.examples:
        return Facts((*rows, ("Where", scenario)))
    example = finding.examples[0]
    return Facts(
        (
            *rows,
            ("Transfer", transfer(run, finding, example)),
            ("Where", (*scenario, " · ", *fault_on(run, finding, example))),
            ("When", moment(run, example)),
        )
    )


def transfer(run: Run, finding: FindingRecord, example: ExampleRecord) -> tuple[str | Span, ...]:
    """The subject and the amount of an example."""
    amount = amount_of(run, finding, example)
    return (code(example.subject or "not named"), f" · {amount}")


def amount_of(run: Run, finding: FindingRecord, example: ExampleRecord) -> str:
    """The amount of an example's transfer, as the journal has it."""
    amount_minor, currency = run.amount_behind(finding, example)
    return money(amount_minor, currency) if currency else "no amount in the journal"


def moment(run: Run, example: ExampleRecord) -> Inline:
    """The moment of an example, in milliseconds of the run and as wall-clock time."""
    if example.at_ms is None:
        return "not one moment: a state at the end of the scenario"
    return (Span(f"{example.at_ms} ms", tone="strong"), f" of the run · {run.utc(example.at_ms)}")


def fault_on(run: Run, finding: FindingRecord, example: ExampleRecord) -> tuple[str | Span, ...]:
    """The fault aimed at the operation, or those of the scenario when none was aimed at it."""
    record = run.operation_behind(finding, example)
    operation = record.operation.id if record else example.operation
    faults = [fault for scenario, fault in run.faults if scenario.name == finding.scenario]
    aimed = [fault for fault in faults if operation and fault.operation == operation]
    if aimed:
        fault = aimed[0]
        bit = "bit" if fault.bit else "did not bite"
        window = span(fault.from_ms, fault.until_ms)
        return (code(fault.name), " on ", code(fault.link), f" {bit}, in place {window}")
    if not faults:
        return ("no fault in this scenario",)
    names = ", ".join(dict.fromkeys(f"{fault.name} on {fault.link}" for fault in faults))
    return (f"no fault aimed at it; in the scenario: {names}",)


def evidence(run: Run, finding: FindingRecord, example: ExampleRecord) -> Facts:
    """Everything that an example names, one line each."""
    record = run.operation_behind(finding, example)
    id = record.operation.id if record else example.operation
    trace = f" · trace {record.operation.trace}" if record and record.operation.trace else ""
    return Facts(
        (
            ("Transfer", transfer(run, finding, example)),
            ("Moment", moment(run, example)),
            ("Fault", fault_on(run, finding, example)),
            ("Operation", (code(id), trace) if id else "not one operation"),
            ("Journal records", _records(run, example, RECORDS_MAX)),
        )
    )


def _records(run: Run, example: ExampleRecord, limit: int) -> Inline:
    if not example.records:
        return "none"
    types = run.journal.types
    named = [
        f"{seq} ({types[seq]})" if 0 <= seq < len(types) else str(seq)
        for seq in example.records[:limit]
    ]
    more = len(example.records) - limit
    return (code(", ".join(named)), f" and {more} more" if more > 0 else "")


def examples(run: Run, finding: FindingRecord) -> Table:
    """The first, worst and last violations of one kind."""
    rows = tuple(
        (
            code(example.subject or "not named"),
            amount_of(run, finding, example),
            example.expected,
            example.actual,
            moment(run, example),
            code(example.operation) if example.operation else "",
            _records(run, example, 4),
        )
        for example in finding.examples[:EXAMPLES_MAX]
    )
    more = f"Showing {len(rows)} of {finding.count}; the rest is in journal.ndjson."
    return Table(
        "First, worst and last violations of this kind",
        ("Subject", "Amount", "Expected", "Actual", "Moment", "Operation", "Records"),
        rows,
        note=more if len(rows) < finding.count else "",
    )


def attempts(record: OperationRecord | None) -> list[Block]:
    """The exchanges of an operation as a table; nothing when none is known."""
    if record is None or not record.attempts:
        return []
    shown = record.attempts[:ATTEMPTS_MAX]
    rows = tuple(
        (
            str(position),
            attempt.entry,
            str(attempt.sent_ns // _NS_PER_MS),
            str((attempt.done_ns - attempt.sent_ns) // _NS_PER_MS),
            str(attempt.status) if attempt.status is not None else "no complete reply",
            _OUTCOMES[attempt.outcome],
            attempt.error or ("replay of an earlier answer" if attempt.replayed else ""),
        )
        for position, attempt in enumerate(shown, start=1)
    )
    return [
        Table(
            f"What the client of {record.operation.id} saw",
            ("Attempt", "Sent to", "At ms", "Took ms", "Status", "Outcome", "Remark"),
            rows,
            numeric=(2, 3),
            note=f"Showing {len(shown)} of {len(record.attempts)}."
            if len(shown) < len(record.attempts)
            else "",
        )
    ]
