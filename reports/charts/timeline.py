"""The timeline of one scenario: phases, fault windows, every operation, and how many were open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.run_record import FaultSummary, PhaseRecord
from reports.charts import palette
from reports.charts.draw import Specification, as_data
from reports.charts.samples import VIOLATED, Point, in_flight, windows

if TYPE_CHECKING:
    import altair as alt

    Panel = alt.LayerChart | alt.FacetChart

POINTS_MAX = 2_000
LANES_MAX = 8
RULES_MAX = 60
LABELS_MAX = 8
_BINS = 240
_WIDTH = 790
_LANE = 30
_MIN_LABEL_SHARE = 0.07
_FATES = {
    "ok": (palette.OK, "circle", 22),
    "refused": (palette.REFUSED, "square", 60),
    "unknown": (palette.UNKNOWN, "triangle-up", 90),
    VIOLATED: (palette.VIOLATED, "diamond", 200),
}
_X_TITLE = "seconds of the run"
Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Timeline:
    """What the chart draws. `points` may be a sample of `all_points`, which give the levels;
    `violations_ms` are the moments of findings."""

    points: Sequence[Point]
    all_points: Sequence[Point]
    faults: Sequence[FaultSummary] = ()
    phases: Sequence[PhaseRecord] = ()
    violations_ms: Sequence[int] = ()

    @property
    def start_ms(self) -> int:
        """Where the first phase, operation or fault begins."""
        starts = [p.from_ms for p in self.phases] + [p.sent_ms for p in self.all_points]
        starts += [f.from_ms for f in self.faults if f.from_ms is not None]
        starts += self.violations_ms
        return min(starts, default=0)

    @property
    def end_ms(self) -> int:
        """Where the last phase, operation or fault ends."""
        ends = [p.done_ms for p in self.all_points] + [self.start_ms + 1, *self.violations_ms]
        ends += [p.until_ms or p.from_ms for p in self.phases]
        ends += [f.until_ms or f.from_ms or 0 for f in self.faults]
        return max(ends)


def lanes(faults: Sequence[FaultSummary]) -> list[str]:
    """One lane per kind of fault and link that was ever in place, in order of appearance."""
    return list(dict.fromkeys(_lane(fault) for fault in faults if fault.from_ms is not None))


def _lane(fault: FaultSummary) -> str:
    return f"{fault.name}|{fault.link}"


def specification(timeline: Timeline) -> Specification:
    """The chart as Vega-Lite; all panels share one x axis, in seconds of the run."""
    import altair as alt

    def chart() -> alt.VConcatChart:
        domain = [_s(timeline.start_ms), _s(timeline.end_ms)]
        scale = alt.Scale(domain=domain, nice=False, zero=False)
        fault_lanes = [_fault_lanes(timeline, scale)] if lanes(timeline.faults) else []
        panels = [_phase_band(scale), *fault_lanes, _operations(timeline, scale), _levels(scale)]
        return _styled(alt.vconcat(*panels, spacing=6))

    data = {
        "phases": _phase_rows(timeline),
        "faults": _fault_rows(timeline),
        "windows": [
            {"t": _s(a), "to": _s(b)} for a, b in windows(timeline.faults, timeline.end_ms)
        ],
        "bites": _bite_rows(timeline.faults),
        "violations": [{"t": _s(ms)} for ms in sorted(set(timeline.violations_ms))[:RULES_MAX]],
        "operations": _operation_rows(timeline),
        "open": [
            {"t": _s(at), "open": level}
            for at, level in in_flight(
                timeline.all_points,
                start_ms=timeline.start_ms,
                end_ms=timeline.end_ms,
                bins=_BINS,
            )
        ],
    }
    return as_data(chart, data)


def _styled(chart: "alt.VConcatChart") -> "alt.VConcatChart":
    return (
        chart.resolve_scale(color="independent", shape="independent", size="independent")
        .configure(aria=False, background="transparent", font="system-ui, sans-serif", padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=palette.MUTED,
            titleColor=palette.MUTED,
            gridColor=palette.LINE,
            domainColor=palette.LINE,
            tickColor=palette.LINE,
            titleFontWeight="normal",
            labelFontSize=11,
            titleFontSize=11,
        )
        .configure_axisY(minExtent=128, maxExtent=128, labelLimit=122)
        .configure_legend(
            orient="top",
            title=None,
            labelColor=palette.INK,
            labelFontSize=12,
            offset=6,
            symbolStrokeWidth=0,
            padding=0,
            columnPadding=18,
        )
    )


def _s(ms: int) -> float:
    return round(ms / 1000, 3)


def _phase_rows(timeline: Timeline) -> Rows:
    whole = timeline.end_ms - timeline.start_ms
    rows: Rows = []
    for number, phase in enumerate(sorted(timeline.phases, key=lambda p: p.from_ms)):
        until = phase.until_ms if phase.until_ms is not None else timeline.end_ms
        wide = until - phase.from_ms >= _MIN_LABEL_SHARE * whole
        rows.append(
            {
                "t": _s(phase.from_ms),
                "to": _s(until),
                "phase": phase.name,
                "stripe": "ab"[number % 2],
                "label": phase.name if wide else "",
            }
        )
    return rows


def _fault_rows(timeline: Timeline) -> Rows:
    shown = lanes(timeline.faults)[:LANES_MAX]
    return [
        {
            "lane": _lane(f),
            "fault": f.id,
            "t": _s(f.from_ms),
            "at": _s(f.bit_ms if f.bit_ms is not None else f.from_ms),
            "to": _s(f.until_ms if f.until_ms is not None else timeline.end_ms),
            "mark": "bit" if f.bit else "did not bite",
        }
        for f in timeline.faults
        if f.from_ms is not None and _lane(f) in shown
    ]


def _bite_rows(faults: Sequence[FaultSummary]) -> Rows:
    starts = sorted({f.bit_ms for f in faults if f.bit_ms is not None})
    step = max(1, -(-len(starts) // RULES_MAX))
    return [{"t": _s(start)} for start in starts[::step]]


def _operation_rows(timeline: Timeline) -> Rows:
    named = [p.id for p in timeline.points if p.fate == VIOLATED][:LABELS_MAX]
    return [
        {
            "t": _s(p.sent_ms),
            "ms": max(1, p.took_ms),
            "fate": p.fate,
            "operation": p.id,
            "aimed": p.aimed,
            "label": f"#{p.id.rpartition('/')[2]}" if p.id in named else "",
        }
        for p in timeline.points
    ]


def _x(scale: "alt.Scale", axis: "alt.Axis | None" = None) -> "alt.X":
    import altair as alt

    return alt.X("t:Q", scale=scale, axis=axis)


def _on(name: str) -> "alt.Chart":
    import altair as alt

    return alt.Chart(alt.NamedData(name=name))


def _phase_band(scale: "alt.Scale") -> "Panel":
    import altair as alt

    base = _on("phases").properties(width=_WIDTH, height=20)
    stripes = alt.Scale(domain=["a", "b"], range=[palette.LINE, palette.BAND])
    bars = base.mark_bar(height=20).encode(
        x=_x(scale), x2="to:Q", color=alt.Color("stripe:N", legend=None, scale=stripes)
    )
    text = base.mark_text(align="left", dx=5, color=palette.INK, fontSize=11)
    return alt.layer(bars, text.encode(x=_x(scale), text="label:N"))


def _fault_lanes(timeline: Timeline, scale: "alt.Scale") -> "Panel":
    import altair as alt

    shown = lanes(timeline.faults)[:LANES_MAX]
    y = alt.Y(
        "lane:N",
        sort=None,
        title=None,
        scale=alt.Scale(domain=shown),
        axis=alt.Axis(labelExpr="split(datum.label, '|')", domain=False, ticks=False),
    )
    base = _on("faults").properties(width=_WIDTH, height=_LANE * len(shown))
    bars = base.mark_bar(color=palette.FAULT, height=9, opacity=0.75, cornerRadius=2)
    marks = base.mark_point(filled=True, size=70, opacity=1, color=palette.INK)
    shapes = alt.Scale(domain=["bit", "did not bite"], range=["triangle-down", "cross"])
    return alt.layer(
        bars.encode(x=_x(scale), x2="to:Q", y=y),
        marks.encode(
            x=alt.X("at:Q", scale=scale, axis=None),
            y=y,
            shape=alt.Shape("mark:N", legend=None, scale=shapes),
        ),
    )


def _shades(x: "alt.X") -> "list[alt.Chart]":
    shade = _on("windows").mark_rect(color=palette.FAULT, opacity=0.16)
    rules = _on("bites").mark_rule(color=palette.FAULT, strokeWidth=1.2)
    wrongs = _on("violations").mark_rule(color=palette.VIOLATED, strokeWidth=1.5, strokeDash=[5, 3])
    return [shade.encode(x=x, x2="to:Q"), rules.encode(x=x), wrongs.encode(x=x)]


def _operations(timeline: Timeline, scale: "alt.Scale") -> "Panel":
    import altair as alt

    present = [fate for fate in _FATES if any(p.fate == fate for p in timeline.points)]

    def by_fate(part: int) -> alt.Scale:
        return alt.Scale(domain=list(_FATES), range=[look[part] for look in _FATES.values()])

    legend = alt.Legend(values=present)
    # The axis ends at the first power of ten above the longest wait.
    decades = max(2, len(str(max((p.took_ms for p in timeline.points), default=1))))
    y = alt.Y(
        "ms:Q",
        title="time to the last reply, ms (log)",
        scale=alt.Scale(type="log", domain=[1, 10**decades]),
        axis=alt.Axis(values=[10**i for i in range(decades + 1)], format="~s", titleX=-62),
    )
    dots = _on("operations").mark_point(filled=True, opacity=0.9)
    rings = _on("operations").mark_point(
        filled=False, shape="circle", size=110, color=palette.FAULT, strokeWidth=1.5, opacity=1
    )
    labels = _on("operations").mark_text(
        align="center", dy=-15, fontSize=11, fontWeight="bold", color=palette.INK
    )
    return alt.layer(
        *_shades(_x(scale)),
        dots.properties(width=_WIDTH, height=230).encode(
            x=_x(scale),
            y=y,
            color=alt.Color("fate:N", scale=by_fate(0), legend=legend),
            shape=alt.Shape("fate:N", scale=by_fate(1), legend=legend),
            size=alt.Size("fate:N", scale=by_fate(2), legend=legend),
        ),
        rings.transform_filter("datum.aimed").encode(x=_x(scale), y=y),
        labels.transform_filter("datum.label").encode(x=_x(scale), y=y, text="label:N"),
    )


def _levels(scale: "alt.Scale") -> "Panel":
    import altair as alt

    x = _x(scale, axis=alt.Axis(title=_X_TITLE, grid=False, tickCount=12))
    y = alt.Y("open:Q", title="open at once", axis=alt.Axis(tickCount=2, titleX=-62, format="d"))
    area = _on("open").mark_area(
        interpolate="step-after", color=palette.OK, opacity=0.35, line=False
    )
    return alt.layer(*_shades(x), area.properties(width=_WIDTH, height=56).encode(x=x, y=y))
