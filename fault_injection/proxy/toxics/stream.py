"""The standard toxics as stages of one direction of one connection.

A stage receives chunks with the time they were read and passes them on. Restarting a stage (its
toxic was updated) releases what it holds; removing it flushes everything in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from fault_injection.proxy import chance, clock

if TYPE_CHECKING:
    from fault_injection.proxy.link import Link
    from fault_injection.proxy.toxics.model import Toxic

# What a queued chunk costs beyond its bytes, so that tiny chunks are bounded, too.
CHUNK_OVERHEAD = 256
# A day: attribute values beyond it mean "for ever" and must not overflow a timer.
MAX_DELAY_S = 86_400.0


def seconds_of(value: int, per_second: float) -> float:
    return min(max(value, 0) / per_second, MAX_DELAY_S)


class Stage:
    """One toxic at work on one direction of one connection."""

    type: ClassVar[str]
    attributes: ClassVar[tuple[str, ...]] = ()
    buffers_much: ClassVar[bool] = False

    def __init__(self, toxic: Toxic, link: Link) -> None:
        self.toxic = toxic
        self.link = link
        self.next: Stage | None = None
        self.ended = False
        self.alarm: clock.Alarm | None = None
        self.seed: int | None = None
        self.active = self.roll()

    def roll(self) -> bool:
        """Whether the toxic works on this connection: it is meant, and the dice say so."""
        toxic, number = self.toxic, self.link.connection_number
        if toxic.seed != self.seed:
            self.seed = toxic.seed
            self.random = chance.generator(toxic.seed, number, self.link.stream, toxic.name)
        return self.random.random() < toxic.toxicity and toxic.chooses(number)

    def value(self, name: str) -> int:
        return int(self.toxic.attributes[name])

    def feed(self, data: bytes, at_s: float) -> None:
        if self.ended:
            return
        if self.active:
            self.on_data(data, at_s)
        else:
            self.next.feed(data, at_s)

    def end(self) -> None:
        if self.ended:
            return
        if self.active:
            self.on_end()
        else:
            self.close()

    def close(self) -> None:
        self.ended = True
        self.cancel()
        self.next.end()

    def start(self) -> None:
        """Called when the stage is wired in, and again after each update of its toxic."""

    def restart(self) -> None:
        """Takes the toxic's new attributes over; the dice are thrown again."""
        self.interrupt()
        self.active = self.roll()
        if not self.ended:
            self.start()

    def removed(self) -> None:
        """Passes on what is held, in order, before the stage is taken out."""
        self.interrupt()

    def discarded(self) -> None:
        """The connection is gone: no alarm may outlive it."""
        self.ended = True
        self.cancel()

    def on_data(self, data: bytes, at_s: float) -> None:
        self.next.feed(data, at_s)

    def on_end(self) -> None:
        self.close()

    def interrupt(self) -> None:
        self.cancel()

    def wake_in(self, delay_s: float) -> None:
        self.wake_at(clock.monotonic_s() + delay_s)

    def wake_at(self, due_s: float) -> None:
        self.alarm = clock.Alarm(due_s, self._wake)

    def _wake(self) -> None:
        self.alarm = None
        self.on_alarm()

    def on_alarm(self) -> None:
        """The alarm rang."""

    def cancel(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None


class Noop(Stage):
    """Passes everything on."""

    type = "noop"


class QueueStage(Stage):
    """A stage that lets its head chunk wait while later ones queue up."""

    def __init__(self, toxic: Toxic, link: Link) -> None:
        super().__init__(toxic, link)
        self.queue: deque[tuple[memoryview, float]] = deque()
        self.ending = False

    def on_data(self, data: bytes | memoryview, at_s: float) -> None:
        self.queue.append((memoryview(data), at_s))
        self.link.hold(len(data) + CHUNK_OVERHEAD)
        if self.alarm is None:
            self.advance()

    def on_end(self) -> None:
        self.ending = True
        self.finish_if_drained()

    def pass_on(self, size: int) -> None:
        """Passes on so many bytes of the head chunk."""
        data, at_s = self.queue.popleft()
        if size < len(data):
            self.queue.appendleft((data[size:], at_s))
            self.link.release(size)
        else:
            self.link.release(len(data) + CHUNK_OVERHEAD)
        self.next.feed(data[:size], at_s)

    def pass_head(self) -> None:
        self.pass_on(len(self.queue[0][0]))

    def finish_if_drained(self) -> None:
        if self.ending and not self.queue and not self.ended:
            self.close()

    def flush(self) -> None:
        self.cancel()
        while self.queue:
            self.pass_head()
        self.finish_if_drained()

    def interrupt(self) -> None:
        self.flush()

    def discarded(self) -> None:
        super().discarded()
        self.queue.clear()

    def advance(self) -> None:
        raise NotImplementedError


class Latency(QueueStage):
    """Shifts the stream by `latency` ± `jitter` ms without reordering it."""

    type = "latency"
    attributes = ("latency", "jitter")
    buffers_much = True

    def delay_s(self) -> float:
        latency_ms, jitter_ms = self.value("latency"), self.value("jitter")
        if jitter_ms > 0:
            latency_ms += self.random.randrange(-jitter_ms, jitter_ms)
        return seconds_of(latency_ms, 1000)

    def advance(self) -> None:
        while self.queue:
            data, at_s = self.queue[0]
            due_s = at_s + self.delay_s()
            # The moved time stamp makes a second latency toxic add to this one.
            self.queue[0] = (data, due_s)
            if due_s > clock.monotonic_s():
                self.wake_at(due_s)
                return
            self.pass_head()
        self.finish_if_drained()

    def on_alarm(self) -> None:
        self.pass_head()
        self.advance()

    def restart(self) -> None:
        """Only the chunk whose turn it was is released; later ones wait by the new values."""
        self.cancel()
        if self.queue:
            self.pass_head()
        self.active = self.roll()
        if self.active:
            self.advance()
        else:
            self.flush()


class Bandwidth(QueueStage):
    """Limits the stream to `rate` KB/s (1 KB = 1000 B); a rate of 0 or less stops it."""

    type = "bandwidth"
    attributes = ("rate",)
    SLICE_MS = 100

    def __init__(self, toxic: Toxic, link: Link) -> None:
        super().__init__(toxic, link)
        self.debt_s = 0.0
        self.slept_from_s = 0.0
        self.slice = 0

    def start(self) -> None:
        self.debt_s = 0.0
        if self.queue and self.active:
            self.advance()

    def restart(self) -> None:
        self.cancel()
        self.active = self.roll()
        if self.active:
            self.start()
        else:
            self.flush()

    def advance(self) -> None:
        """Starts waiting for the head chunk (or its next slice)."""
        self.wait_from(clock.monotonic_s())

    def wait_from(self, now_s: float) -> None:
        rate = self.value("rate")
        if rate <= 0:
            return
        while self.queue:
            self.slice = min(len(self.queue[0][0]), rate * self.SLICE_MS)
            self.debt_s += self.slice / (rate * 1000)
            if self.debt_s > 0:
                self.slept_from_s = now_s
                self.wake_at(now_s + min(self.debt_s, MAX_DELAY_S))
                return
            self.pass_on(self.slice)
        self.finish_if_drained()

    def on_alarm(self) -> None:
        # One instant ends this wait and begins the next, so that our own work costs no time.
        now_s = clock.monotonic_s()
        self.debt_s -= now_s - self.slept_from_s
        self.pass_on(self.slice)
        self.wait_from(now_s)


class Slicer(QueueStage):
    """Cuts chunks into pieces of about `average_size` bytes, `delay` microseconds apart."""

    type = "slicer"
    attributes = ("average_size", "size_variation", "delay")
    # Then other connections get a turn.
    PIECES_AT_ONCE = 256
    FULL_RETRY_S = 0.002

    def __init__(self, toxic: Toxic, link: Link) -> None:
        super().__init__(toxic, link)
        self.sizes: Iterator[int] | None = None
        self.queued = 0

    def on_data(self, data: bytes | memoryview, at_s: float) -> None:
        self.queued += len(data)
        super().on_data(data, at_s)

    def pass_on(self, size: int) -> None:
        self.queued -= size
        super().pass_on(size)

    def full_ahead(self) -> bool:
        """Whether what follows has no room: many small pieces cost more than the bytes."""
        ahead = self.link.held - self.queued
        return self.link.sink_full or ahead > 2 * self.link.held_limit

    def cuts(self, size: int) -> Iterator[int]:
        """Sizes of the pieces of a chunk: halves, moved by chance, until small enough."""
        average = self.value("average_size")
        variation = min(max(self.value("size_variation"), 0), average - 1)
        todo = [size]
        while todo:
            piece = todo.pop()
            if average <= 0 or piece <= 1 or piece - average <= variation:
                yield piece
                continue
            middle = piece // 2
            if variation:
                middle += self.random.randrange(-variation, variation)
            middle = min(max(middle, 1), piece - 1)
            todo += [piece - middle, middle]

    def advance(self) -> None:
        if self.full_ahead():
            self.wake_in(self.FULL_RETRY_S)
            return
        delay_s = seconds_of(self.value("delay"), 1_000_000)
        at_once = 1 if delay_s > 0 else self.PIECES_AT_ONCE
        for _ in range(at_once):
            if not self.queue:
                break
            size = next(self.sizes, 0) if self.sizes is not None else 0
            if not size:
                self.sizes = self.cuts(len(self.queue[0][0]))
                size = next(self.sizes)
            self.pass_on(size)
        if self.queue or delay_s > 0:
            self.wake_in(delay_s)
        else:
            self.finish_if_drained()

    def on_end(self) -> None:
        self.ending = True
        if self.alarm is None:
            self.finish_if_drained()

    def on_alarm(self) -> None:
        if self.queue:
            self.advance()
        else:
            self.finish_if_drained()

    def flush(self) -> None:
        self.sizes = None
        super().flush()
