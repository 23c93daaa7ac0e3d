"""Every violation, worst first, with what is needed to see it again."""

from harness.core.run_record import ExampleRecord, FindingRecord
from reports.content import Block, Command, Facts, Group, Inline, Paragraph, Span, Table, code
from reports.history import attempts, fault_on
from reports.run import Run, slug
from reports.section import section
from reports.words import count, moment, money, records

FINDINGS_MAX = 50
EXAMPLES_MAX = 20


@section("findings", title="Findings", order=30)
def findings(run: Run) -> list[Block]:
    """Each kind of violation: the transfer, the moment, the records behind it, how to repeat it."""
    blocks: list[Block] = [_finding(run, finding) for finding in run.findings[:FINDINGS_MAX]]
    if len(run.findings) > FINDINGS_MAX:
        note = f"Showing {FINDINGS_MAX} of {len(run.findings)} findings; all are in run.json."
        blocks.append(Paragraph(note))
    return blocks


def _finding(run: Run, finding: FindingRecord) -> Group:
    blocks: list[Block] = []
    for example in finding.examples[:1]:
        sides = (("expected", example.expected), ("actual", Span(example.actual, tone="bad")))
        blocks += [Facts(sides, stacked=True), Facts(_evidence(run, finding, example))]
    blocks.append(Command("Repeat it", finding.replay))
    for example in finding.examples[:1]:
        blocks += attempts(run.operation_behind(finding, example))
    if len(finding.examples) > 1:
        blocks.append(_examples(run, finding))
    kicker = (run.kind_of(finding), " · ", Span(finding.scenario, href=f"#scenario-{slug(
        finding.scenario)}"), " · ", finding.invariant, " · ", count(finding.count, "violation"))
    return Group(finding.title, tuple(blocks), f"finding-{slug(finding.id)}", kicker, "bad")


def _moment(run: Run, example: ExampleRecord) -> Inline:
    return moment(example.at_ms, run.utc(example.at_ms) if example.at_ms is not None else "")


def _amount(run: Run, finding: FindingRecord, example: ExampleRecord) -> str:
    amount_minor, currency = run.amount_behind(finding, example)
    return money(amount_minor, currency) if currency else "no amount in the journal"


def _evidence(run: Run, finding: FindingRecord, example: ExampleRecord) -> tuple[
    tuple[str, Inline], ...
]:
    record = run.operation_behind(finding, example)
    id = record.operation.id if record else example.operation
    trace = f" · trace {record.operation.trace}" if record and record.operation.trace else ""
    return (
        ("Transfer", (code(example.subject or "not named"), " · ", _amount(run, finding, example))),
        ("Moment", _moment(run, example)),
        ("Fault", fault_on(run, finding.scenario, id)),
        ("Operation", (code(id), trace) if id else "not one operation"),
        ("Journal records", records(example, run.journal.types)),
    )


def _examples(run: Run, finding: FindingRecord) -> Table:
    rows = tuple(
        (code(e.subject or "not named"), _amount(run, finding, e), e.expected, e.actual,
         _moment(run, e), code(e.operation) if e.operation else "",
         records(e, run.journal.types, shown=4))
        for e in finding.examples[:EXAMPLES_MAX]
    )
    note = f"Showing {len(rows)} of {finding.count}; the rest is in journal.ndjson."
    columns = ("Subject", "Amount", "Expected", "Actual", "Moment", "Operation", "Records")
    caption = "First, worst and last violations of this kind"
    return Table(caption, columns, rows, note=note if len(rows) < finding.count else "")
