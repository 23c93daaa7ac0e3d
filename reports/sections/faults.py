"""Which faults were tried, whether they bit, and who saw it."""

from itertools import groupby

from harness.core.run_record import FaultSummary, ScenarioRecord
from reports.content import Block, Inline, Paragraph, Span, Table, code
from reports.run import Run
from reports.section import section
from reports.words import pairs, span

ROWS_MAX = 100
DULL_MAX = 20


@section("faults", title="Faults", order=60)
def faults(run: Run) -> list[Block]:
    """Faults by kind and link: how many bit of how many were tried, the observer, its evidence."""

    def kind(entry: tuple[ScenarioRecord, FaultSummary]) -> tuple[str, str, str]:
        return entry[0].name, entry[1].name, entry[1].link

    groups = [list(group) for _, group in groupby(sorted(run.faults, key=kind), key=kind)]
    if not groups:
        return [Paragraph("This run injected no fault: it shows load and races only.")]
    rows = tuple(_row(*entries[0], [f for _, f in entries]) for entries in groups[:ROWS_MAX])
    columns = ("Fault", "Where", "Scenario", "Bit / tried", "In place", "Seen by", "Evidence")
    note = f"Showing {len(rows)} of {len(groups)} groups." if len(rows) < len(groups) else ""
    caption = "Faults by kind and place; the evidence is that of the first one that bit"
    blocks: list[Block] = [Table(caption, columns, rows, note=note)]
    dull = tuple(
        (
            code(f.id),
            f"{f.name} on {f.link}",
            s.name,
            code(f.operation) if f.operation else "",
            f.observer or "nobody",
            pairs(f.evidence),
        )
        for s, f in run.faults
        if not f.bit
    )
    if dull:
        columns = ("Fault", "Kind", "Scenario", "Aimed at", "Asked", "What was seen instead")
        note = f"Showing {DULL_MAX} of {len(dull)}; all are in run.json."
        blocks.append(
            Table(
                "Faults that did not bite",
                columns,
                dull[:DULL_MAX],
                note=note if len(dull) > DULL_MAX else "",
            )
        )
    return blocks


def _row(
    scenario: ScenarioRecord, first: FaultSummary, group: list[FaultSummary]
) -> tuple[Inline, ...]:
    bitten = [fault for fault in group if fault.bit]
    share = Span(
        f"{'✓' if len(bitten) == len(group) else '?'} {len(bitten)} / {len(group)}",
        tone="good" if len(bitten) == len(group) else "unsure",
    )
    starts = [f.from_ms for f in group if f.from_ms is not None]
    ends = [f.until_ms for f in group if f.until_ms is not None]
    observers = ", ".join(sorted({f.observer for f in bitten if f.observer})) or "nobody"
    what = (Span(first.name, tone="strong"), f" {pairs(first.parameters)}".rstrip())
    window = span(min(starts, default=None), max(ends, default=None))
    evidence = pairs(bitten[0].evidence) if bitten else ""
    return what, code(first.link), scenario.name, share, window, observers, evidence
