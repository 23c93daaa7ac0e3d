"""What a timeline draws: points, windows and levels, computed from records without any drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.history import Outcome
from harness.core.records import OperationRecord
from harness.core.run_record import FaultSummary

_NS_PER_MS = 1_000_000
FATES = {Outcome.OK: "ok", Outcome.FAIL: "refused", Outcome.INFO: "unknown"}
VIOLATED = "in a finding"


@dataclass(frozen=True)
class Point:
    """One operation: when it was sent, how long until the last attempt ended, what became of it."""

    id: str
    phase: str
    sent_ms: int
    took_ms: int
    fate: str
    aimed: bool

    @property
    def done_ms(self) -> int:
        """When the last attempt ended."""
        return self.sent_ms + self.took_ms


def points(
    records: Sequence[OperationRecord], *, violated: set[str], aimed: set[str]
) -> list[Point]:
    """One point per operation that was sent at all, by time."""
    found = []
    for record in records:
        if not record.attempts:
            continue
        id = record.operation.id
        sent_ns, done_ns = record.attempts[0].sent_ns, record.attempts[-1].done_ns
        found.append(
            Point(
                id=id,
                phase=record.phase,
                sent_ms=sent_ns // _NS_PER_MS,
                took_ms=max(0, done_ns - sent_ns) // _NS_PER_MS,
                fate=VIOLATED if id in violated else FATES[record.outcome],
                aimed=id in aimed,
            )
        )
    return sorted(found, key=lambda point: (point.sent_ms, point.id))


def sample(all_points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points: those that matter first, then evenly spaced others.

    Which ones is a function of the input alone, so that a page drawn twice is the same page.
    """
    if len(all_points) <= limit:
        return list(all_points)
    ranked = [[], [], []]  # type: list[list[Point]]
    for point in all_points:
        ranked[0 if point.fate == VIOLATED else 2 if _ordinary(point) else 1].append(point)
    kept: list[Point] = []
    for group in ranked:
        kept += _evenly(group, limit - len(kept))
    return sorted(kept, key=lambda point: (point.sent_ms, point.id))


def _ordinary(point: Point) -> bool:
    return point.fate == FATES[Outcome.OK] and not point.aimed


def _evenly(group: list[Point], limit: int) -> list[Point]:
    if len(group) <= limit:
        return group
    return [group[index * len(group) // limit] for index in range(limit)]


def windows(faults: Sequence[FaultSummary], end_ms: int) -> list[tuple[int, int]]:
    """Spans in which at least one fault was in place, merged where they touch."""
    merged: list[tuple[int, int]] = []
    spans = [
        (f.from_ms, f.until_ms if f.until_ms is not None else end_ms)
        for f in faults
        if f.from_ms is not None
    ]
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def in_flight(
    all_points: Sequence[Point], *, start_ms: int, end_ms: int, bins: int
) -> list[tuple[int, int]]:
    """The most operations that were open at once, for each of `bins` equal stretches of time."""
    width = max(1, -(-(end_ms - start_ms) // bins))
    opened = sorted(point.sent_ms for point in all_points)
    closed = sorted(point.done_ms for point in all_points)
    levels, first, last = [], 0, 0
    for left in range(start_ms, end_ms, width):
        while last < len(closed) and closed[last] < left:
            last += 1
        while first < len(opened) and opened[first] < left + width:
            first += 1
        levels.append((left, first - last))
    return levels


def percentile(values: Sequence[int], percent: int) -> int:
    """The exact nearest-rank percentile of some whole numbers; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)] if ordered else 0
