"""Which faults were tried, where, and how many of them bit."""

from itertools import groupby

from harness.core.run_record import FaultSummary, ScenarioRecord
from reports.content import Block, Inline, Paragraph, Span, Table, code
from reports.run import Run
from reports.section import section
from reports.words import pairs, span

ROWS_MAX = 100


def _kind(entry: tuple[ScenarioRecord, FaultSummary]) -> tuple[str, str, str]:
    return entry[0].name, entry[1].name, entry[1].link


@section("faults", title="Faults", order=60)
def faults(run: Run) -> list[Block]:
    """Faults by kind and link: how many bit of how many were tried, the observer, its evidence."""
    groups = [list(group) for _, group in groupby(sorted(run.faults, key=_kind), key=_kind)]
    if not groups:
        return [Paragraph("No fault was injected in this run.")]
    rows = tuple(_row(entries) for entries in groups[:ROWS_MAX])
    columns = ("Fault", "Where", "Scenario", "Bit / tried", "In place", "Seen by", "Evidence")
    note = f"Showing {len(rows)} of {len(groups)}." if len(rows) < len(groups) else ""
    caption = "Faults by kind and place; the evidence is that of the first one that bit"
    return [Table(caption, columns, rows, note=note)]


def _row(entries: list[tuple[ScenarioRecord, FaultSummary]]) -> tuple[Inline, ...]:
    (scenario, first), group = entries[0], [fault for _, fault in entries]
    common = dict(set.intersection(*(set(fault.parameters.items()) for fault in group)))
    bitten = [fault for fault in group if fault.bit]
    all_bit = len(bitten) == len(group)
    share = f"{'✓' if all_bit else '?'} {len(bitten)} / {len(group)}"
    starts = [fault.from_ms for fault in group if fault.from_ms is not None]
    ends = [fault.until_ms for fault in group if fault.until_ms is not None]
    return (
        (Span(first.name, tone="strong"), f" {pairs(common)}".rstrip()),
        code(first.link),
        scenario.name,
        Span(share, tone="good" if all_bit else "unsure"),
        span(min(starts, default=None), max(ends, default=None)),
        ", ".join(sorted({fault.observer for fault in bitten if fault.observer})) or "nobody",
        pairs(bitten[0].evidence) if bitten else "",
    )
