"""The faults that did not bite, one by one: what they were aimed at was not tested."""

from reports.content import Block, Table, code
from reports.run import Run
from reports.section import section
from reports.words import pairs

ROWS_MAX = 20


@section("unproved", title="Faults that did not bite", order=61)
def unproved(run: Run) -> list[Block]:
    """Faults whose observer saw nothing, with what was seen instead."""
    dull = [(scenario, fault) for scenario, fault in run.faults if not fault.bit]
    rows = tuple(
        (
            code(fault.id),
            f"{fault.name} on {fault.link}",
            scenario.name,
            code(fault.operation) if fault.operation else "",
            fault.observer or "nobody",
            pairs(fault.evidence) or "nothing",
        )
        for scenario, fault in dull[:ROWS_MAX]
    )
    if not rows:
        return []
    return [
        Table(
            "What each was aimed at, who was asked, and what was seen instead",
            ("Fault", "Kind", "Scenario", "Aimed at", "Asked", "Seen"),
            rows,
            note=f"Showing {len(rows)} of {len(dull)}." if len(rows) < len(dull) else "",
        )
    ]
