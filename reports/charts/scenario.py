"""From a scenario of a run to its picture, the sentence below it and the table beside it."""

from collections.abc import Sequence

from harness.core.run_record import ScenarioRecord
from reports.charts import timeline
from reports.charts.draw import picture
from reports.charts.samples import Point, percentile, points, sample, windows
from reports.content import Picture, Table
from reports.run import Run, slug
from reports.words import count, span

CHARTS_MAX = 16
POINTS_OF_A_RUN_MAX = 6_000


def phase_table(run: Run, scenario: ScenarioRecord) -> Table:
    """The picture in numbers, exact, by the phase in which operations were sent."""
    all_points = points(list(run.in_scenario(scenario.name)), violated=set(), aimed=set())
    rows = []
    for phase in scenario.phases:
        sent = [point for point in all_points if point.phase == phase.name]
        took = [point.took_ms for point in sent]
        fates = [point.fate for point in sent]
        figures = (
            len(sent),
            fates.count("refused"),
            fates.count("unknown"),
            *((percentile(took, 50), percentile(took, 95), max(took)) if took else "–––"),
        )
        rows.append((phase.name, span(phase.from_ms, phase.until_ms), *map(str, figures)))
    return Table(
        f"{scenario.name} by phase; times are until the last reply",
        ("Phase", "Of the run", "Sent", "Refused", "Unknown", "Median ms", "p95 ms", "Longest ms"),
        tuple(rows),
        numeric=(2, 3, 4, 5, 6, 7),
    )


def timeline_of(run: Run, scenario: ScenarioRecord) -> tuple[Picture | None, str]:
    """The picture and what it shows this time; or no picture, and why."""
    examples = [
        example
        for finding in run.findings
        if finding.scenario == scenario.name
        for example in finding.examples
    ]
    all_points = points(
        list(run.in_scenario(scenario.name)),
        violated={example.operation for example in examples if example.operation},
        aimed={fault.operation for fault in scenario.faults if fault.operation},
    )
    if not all_points:
        return None, "the journal holds no operation of this scenario"
    charts = min(len(run.record.scenarios), CHARTS_MAX)
    limit = min(timeline.POINTS_MAX, POINTS_OF_A_RUN_MAX // charts)
    drawn = timeline.Timeline(
        points=sample(all_points, limit),
        all_points=all_points,
        faults=scenario.faults,
        phases=scenario.phases,
        violations_ms=[e.at_ms for e in examples if e.at_ms is not None],
    )
    sentence = _sentence(drawn, scenario)
    name = f"timeline-{slug(scenario.name)}"
    title = f"Timeline of {scenario.name}"
    return picture(
        timeline.specification(drawn), name=name, title=title, description=sentence
    ), sentence


def _sentence(drawn: timeline.Timeline, scenario: ScenarioRecord) -> str:
    spans = windows(scenario.faults, drawn.end_ms)
    inside = [p for p in drawn.all_points if any(a <= p.sent_ms <= b for a, b in spans)]
    kept = {id(point) for point in inside}
    outside = [point for point in drawn.all_points if id(point) not in kept]
    parts = [f"This time: {count(len(drawn.all_points), 'operation')}"]
    if len(drawn.points) < len(drawn.all_points):
        parts[0] += (
            f", of which {len(drawn.points)} are drawn (first those that were not plainly ok, "
            "then evenly spaced others)"
        )
    if spans:
        bit = sum(fault.bit for fault in scenario.faults)
        parts.append(f"{bit} of {count(len(scenario.faults), 'fault')} bit")
        parts.append(f"while a fault was in place, {_waits(inside)}; otherwise, {_waits(outside)}")
    else:
        parts.append(f"no fault was in place; {_waits(outside)}")
    hidden = len(timeline.lanes(scenario.faults)) - timeline.LANES_MAX
    if hidden > 0:
        parts.append(f"{count(hidden, 'more kind')} of fault not drawn")
    return "; ".join(parts) + "."


def _waits(sent: Sequence[Point]) -> str:
    took = [point.took_ms for point in sent]
    if not took:
        return "nothing was sent"
    return (
        f"half of the clients waited {percentile(took, 50)} ms or less, the longest {max(took)} ms"
    )
