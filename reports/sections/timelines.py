"""One picture per scenario: what the faults did to the operations, and when."""

from harness.core.run_record import ScenarioRecord
from reports.charts.scenario import CHARTS_MAX, phase_table, timeline_of
from reports.content import Block, Bullets, Group, Paragraph
from reports.run import Run, slug
from reports.section import section
from reports.words import badge

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
    # Scenarios that did not pass get their picture first.
    worst_first = sorted(scenarios, key=lambda scenario: scenario.verdict == "pass")
    drawn = {scenario.name for scenario in worst_first[:CHARTS_MAX]}
    groups = [_scenario(run, scenario, draw=scenario.name in drawn) for scenario in scenarios]
    return [Paragraph(HOW_TO_READ, tone="muted"), *groups] if groups else []


def _scenario(run: Run, scenario: ScenarioRecord, *, draw: bool) -> Group:
    blocks: list[Block] = [Paragraph(scenario.summary)]
    if scenario.reasons:
        blocks.append(Bullets(tuple(scenario.reasons[:10])))
    picture, sentence = timeline_of(run, scenario) if draw else (None, "too many scenarios")
    if picture is not None:
        blocks += [picture, Paragraph(sentence)]
    else:
        blocks.append(Paragraph(f"No picture: {sentence}."))
    blocks.append(phase_table(run, scenario))
    kicker = badge(scenario.verdict)
    return Group(scenario.name, tuple(blocks), f"scenario-{slug(scenario.name)}", kicker)
