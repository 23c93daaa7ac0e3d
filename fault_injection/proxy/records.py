"""Bounded, numbered records of what the proxies saw and did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

MESSAGE_CAPACITY = 300_000
EVENT_CAPACITY = 100_000
EVICTION_BATCH = 1_024


class Record:
    """Something that gets a sequence number when it is recorded; `trace` may be None."""

    __slots__ = ()
    seq: int
    trace: str | None


RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True, slots=True)
class Page(Generic[RecordT]):
    """Records after a sequence number.

    `last_seq` is what to ask after next; `dropped` counts what was evicted before it was asked for.
    """

    records: list[RecordT]
    last_seq: int
    dropped: int


class Ring(Generic[RecordT]):
    """The newest records in order, found by sequence number or by trace."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.items: list[RecordT] = []
        self.by_trace: dict[str, list[RecordT]] = {}
        self.last_seq = 0

    def append(self, record: RecordT) -> None:
        self.last_seq += 1
        record.seq = self.last_seq
        self.items.append(record)
        if record.trace is not None:
            self.by_trace.setdefault(record.trace, []).append(record)
        if len(self.items) >= self.capacity + EVICTION_BATCH:
            self._evict()

    def _evict(self) -> None:
        evicted = self.items[:EVICTION_BATCH]
        del self.items[:EVICTION_BATCH]
        first = self.items[0].seq
        for trace in {record.trace for record in evicted if record.trace is not None}:
            kept = [record for record in self.by_trace[trace] if record.seq >= first]
            if kept:
                self.by_trace[trace] = kept
            else:
                del self.by_trace[trace]

    def page(self, *, after: int, limit: int, trace: str | None = None) -> Page[RecordT]:
        first = self.items[0].seq if self.items else self.last_seq + 1
        dropped = max(0, first - 1 - after)
        if trace is None:
            start = max(0, after + 1 - first)
            found = self.items[start : start + limit]
        else:
            found = [record for record in self.by_trace.get(trace, ()) if record.seq > after]
            found = found[:limit]
        last_seq = found[-1].seq if len(found) == limit else self.last_seq
        return Page(found, last_seq, dropped)
