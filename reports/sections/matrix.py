"""Which invariant held in which scenario: nothing hidden, holes visible."""

from harness.core.run_record import ScenarioRecord
from reports.content import Block, Inline, Span, Table
from reports.run import Run, slug
from reports.section import section
from reports.words import badge


@section("matrix", title="Scenarios and invariants", order=40)
def matrix(run: Run) -> list[Block]:
    """One row per scenario, one column per invariant, with how many things were looked at."""
    scenarios = run.record.scenarios
    promises = {i.name: i for s in scenarios for i in s.invariants}
    if not promises:
        return []
    names = tuple(promises)
    rows = tuple(
        (Span(s.name, href=f"#scenario-{slug(s.name)}"), badge(s.verdict))
        + tuple(_cell(run, s, name) for name in names)
        for s in scenarios
    )
    kinds = tuple((i.name, i.kind, i.summary) for i in promises.values())
    return [
        Table(
            "Verdict of each invariant in each scenario, with the number of things checked",
            ("Scenario", "Verdict", *names),
            rows,
        ),
        Table("What each invariant promises", ("Invariant", "Kind", "Promise"), kinds),
    ]


def _cell(run: Run, scenario: ScenarioRecord, name: str) -> Inline:
    held = next((i for i in scenario.invariants if i.name == name), None)
    if held is None:
        return Span("–\u00a0not\u00a0run", tone="muted")
    key = (scenario.name, name)
    found = next((f for f in run.findings if (f.scenario, f.invariant) == key), None)
    href = f"#finding-{slug(found.id)}" if found else ""
    detail = f"{held.findings} of {held.checked}" if held.findings else str(held.checked)
    return badge(held.verdict, detail=detail, href=href)
