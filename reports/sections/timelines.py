"""One picture per scenario: what the faults did to the operations, and when."""

from harness.core.run_record import ScenarioRecord
from reports.charts.scenario import CHARTS_MAX, numbers, timeline_of
from reports.content import Block, Facts, Group, Paragraph, Table
from reports.run import Run, slug
from reports.section import section
from reports.words import badge, seconds, span

HOW_TO_READ = (
    "Each mark is one operation: where it stands is when it was sent and how long its client "
    "waited for the last reply; colour and shape say what became of it. Shading is the time in "
    "which a fault was in place, a ring marks an operation that a fault was aimed at, a triangle "
    "a fault that bit, a cross one that did not. A dashed line is the moment of a finding."
)


@section("timelines", title="Timelines", order=50, in_summary=False)
def timelines(run: Run) -> list[Block]:
    """Phases, fault windows, every operation by its fate, and how many were open at once."""
    scenarios = run.record.scenarios
    if not scenarios:
        return []
    blocks: list[Block] = [Paragraph(HOW_TO_READ, tone="muted")]
    # Scenarios that did not pass get their picture first.
    worst_first = sorted(scenarios, key=lambda s: s.verdict == "pass")
    drawn = {s.name for s in worst_first[:CHARTS_MAX]}
    blocks += [_scenario(run, s, draw=s.name in drawn) for s in scenarios]
    return blocks


def _scenario(run: Run, scenario: ScenarioRecord, *, draw: bool) -> Group:
    blocks: list[Block] = [Paragraph(scenario.summary)]
    if scenario.reasons:
        blocks.append(Facts(tuple(("Not a pass because", r) for r in scenario.reasons[:10])))
    picture, sentence = timeline_of(run, scenario) if draw else (None, "")
    if picture is not None:
        blocks += [picture, Paragraph(sentence)]
    else:
        blocks.append(Paragraph(f"No picture: {sentence or 'the limit of pictures is reached'}."))
    rows = tuple(
        (row.phase, span(row.from_ms, row.until_ms), str(row.operations), str(row.refused),
         str(row.unknown), str(row.median_ms), str(row.p95_ms), str(row.slowest_ms))
        for row in numbers(run, scenario)
    )
    columns = ("Phase", "Seconds of the run", "Operations", "Refused", "Unknown",
               "Median ms", "95 % below ms", "Slowest ms")
    caption = f"{scenario.name} by phase (from the operations of the journal)"
    blocks.append(Table(caption, columns, rows, numeric=(2, 3, 4, 5, 6, 7)))
    kicker = (badge(scenario.verdict), f" · {seconds(_took_ms(scenario))}")
    return Group(scenario.name, tuple(blocks), f"scenario-{slug(scenario.name)}", kicker)


def _took_ms(scenario: ScenarioRecord) -> int:
    starts = [phase.from_ms for phase in scenario.phases]
    return max((p.until_ms or p.from_ms for p in scenario.phases), default=0) - min(
        starts, default=0
    )
