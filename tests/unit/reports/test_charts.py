"""Charts: valid, sampled the same way every time, in the page's own colours."""

import json
import re
from dataclasses import replace
from pathlib import Path

import altair as alt
import jsonschema
import pytest

import reports
from harness.core.run_record import FaultSummary
from reports.charts import palette
from reports.charts.draw import picture
from reports.charts.samples import (
    VIOLATED,
    Point,
    in_flight,
    percentile,
    sample,
    windows,
)
from reports.charts.scenario import timeline_of
from reports.charts.timeline import POINTS_MAX, Timeline, specification
from reports.run import load
from tests.unit.reports.samples import failing

POINT = Point(id="s/k/0", phase="load", sent_ms=0, took_ms=10, fate="ok", aimed=False)
FAULT = FaultSummary(
    id="f", name="cut", link="a-b", parameters={}, from_ms=100, until_ms=200, bit=True, bit_ms=130
)


def many(count: int, *, every_hundredth: str = "unknown") -> list[Point]:
    return [
        replace(POINT, id=f"s/k/{n}", sent_ms=n, fate="ok" if n % 100 else every_hundredth)
        for n in range(count)
    ]


def test_written_specifications_are_valid_and_hold_the_data(tmp_path: Path) -> None:
    paths = [p for p in reports.render(failing(tmp_path / "run")) if p.suffix == ".json"]
    assert len(paths) == 3
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        alt.VConcatChart.from_dict(content, validate=True)
        assert len(content["datasets"]["operations"]) >= 270
    content["vconcat"][0]["layer"][0]["mark"] = "no-such-mark"
    with pytest.raises(jsonschema.ValidationError):
        alt.VConcatChart.from_dict(content, validate=True)


def test_every_colour_is_one_that_dark_screens_restyle(tmp_path: Path) -> None:
    run = load(failing(tmp_path / "run"))
    for scenario in run.record.scenarios:
        picture, _ = timeline_of(run, scenario)
        assert picture is not None
        used = set(re.findall(r'(?:fill|stroke)="(#[^"]+|[a-z]+)"', picture.svg))
        assert used - {"none", "transparent"} <= set(palette.ON_DARK)
        assert palette.OK in used


def test_sampling_keeps_what_matters_and_is_stable() -> None:
    everything = many(5_000)
    kept = sample(everything, POINTS_MAX)
    assert len(kept) == POINTS_MAX
    assert kept == sample(everything, POINTS_MAX)
    assert [p for p in kept if p.fate != "ok"] == [p for p in everything if p.fate != "ok"]
    assert kept == sorted(kept, key=lambda point: point.sent_ms)
    assert kept[-1].sent_ms > 4_990


def test_sampling_is_bounded_even_when_everything_is_wrong() -> None:
    wrong = [replace(point, fate=VIOLATED) for point in many(5_000)]
    assert len(sample(wrong, 300)) == 300
    assert sample(wrong[:10], 300) == wrong[:10]


def test_a_long_scenario_is_drawn_within_bounds_and_says_so(tmp_path: Path) -> None:
    run = load(failing(tmp_path / "run"))
    scenario = run.record.scenarios[0]
    one = next(run.in_scenario(scenario.name))
    copies = {
        f"{scenario.name}/k/{n}": replace(
            one, operation=replace(one.operation, id=f"{scenario.name}/k/{n}")
        )
        for n in range(3_000)
    }
    picture, sentence = timeline_of(replace(run, operations=copies), scenario)
    assert picture is not None
    assert "3000 operations, of which 2000 are drawn" in sentence
    assert len(json.loads(picture.specification)["datasets"]["operations"]) == 2_000
    assert len(picture.svg) < 600_000


def test_windows_merge_where_they_touch() -> None:
    faults = [
        FAULT,
        FAULT.model_copy(update={"from_ms": 150, "until_ms": 300}),
        FAULT.model_copy(update={"from_ms": 500, "until_ms": None}),
        FAULT.model_copy(update={"from_ms": None, "until_ms": None}),
    ]
    assert windows(faults, 900) == [(100, 300), (500, 900)]


def test_open_operations_are_counted_per_stretch() -> None:
    points = [replace(POINT, sent_ms=sent, took_ms=took) for sent, took in ((0, 25), (5, 3))]
    assert in_flight(points, start_ms=0, end_ms=40, bins=4) == [(0, 2), (10, 1), (20, 1), (30, 0)]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, 0), ([7], 95, 7), ([4, 1, 3, 2], 50, 2), (list(range(1, 101)), 95, 95)],
)
def test_percentiles_are_exact(values: list[int], percent: int, expected: int) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize("fates", [["ok"], ["unknown"], ["ok", "refused", "unknown", VIOLATED]])
def test_every_point_is_drawn_whatever_fates_there_are(fates: list[str]) -> None:
    points = [replace(POINT, id=f"s/k/{n}", sent_ms=n, fate=f) for n, f in enumerate(fates * 5)]
    drawn = picture(specification(Timeline(points, points)), name="t", title="t", description="t")
    colours = {"ok": palette.OK, "refused": palette.REFUSED, "unknown": palette.UNKNOWN}
    for fate in fates:
        colour = colours.get(fate, palette.VIOLATED)
        path = rf'<path transform="[^"]+" d="M(?!0,0[A"])[^"]+" fill="{colour}"'
        marks = re.findall(path, drawn.svg)
        assert len(marks) == 5 + 1, "five points and the legend's symbol"
    assert "NaN" not in drawn.svg


def test_faults_are_marked_by_whether_they_bit() -> None:
    faults = [
        FAULT,
        FAULT.model_copy(update={"id": "g", "bit": False, "bit_ms": None, "from_ms": 120}),
    ]
    data = specification(Timeline([POINT], [POINT], faults=faults))["datasets"]
    assert [row["mark"] for row in data["faults"]] == ["bit", "did not bite"]
    assert data["bites"] == [{"t": 0.13}], "only a fault that bit gets a rule"
    assert data["windows"] == [{"t": 0.1, "to": 0.2}]
