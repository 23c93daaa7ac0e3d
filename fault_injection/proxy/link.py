"""One direction of a connection: stages in a row, from one socket to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fault_injection.proxy import clock
from fault_injection.proxy.toxics import Stage, Toxic, make_stage

if TYPE_CHECKING:
    from fault_injection.proxy.connection import Connection, Leg

# What stages may hold before the source is paused. A latency toxic needs room for what is in
# flight: 16 MiB carries 160 MB/s through 100 ms.
HELD_LIMIT = 1024 * 1024
HELD_LIMIT_LATENCY = 16 * 1024 * 1024


class Writer:
    """The end of a link: writes to the socket, and closes it at the end of the stream."""

    __slots__ = ("link",)

    def __init__(self, link: Link) -> None:
        self.link = link

    def feed(self, data: bytes, at_s: float) -> None:
        self.link.sink.write(data)

    def end(self) -> None:
        self.link.finished()


class Link:
    """One direction of one connection, with its stages and its back-pressure."""

    __slots__ = (
        "connection",
        "ended",
        "entry",
        "held",
        "held_limit",
        "resets_at_end",
        "sink",
        "sink_full",
        "source",
        "source_paused",
        "stages",
        "stream",
        "writer",
    )

    def __init__(self, connection: Connection, stream: str, source: Leg, sink: Leg) -> None:
        self.connection = connection
        self.stream = stream
        self.source = source
        self.sink = sink
        self.stages: list[Stage] = []
        self.writer = Writer(self)
        self.held = 0
        self.held_limit = HELD_LIMIT
        self.sink_full = False
        self.source_paused = False
        self.ended = False
        self.resets_at_end = False
        self.entry = self._drop

    @property
    def connection_number(self) -> int:
        return self.connection.number

    def open(self, toxics: list[Toxic]) -> None:
        for toxic in toxics:
            self.stages.append(make_stage(toxic, self))
        self._wire()
        for stage in list(self.stages):
            stage.start()

    def _wire(self) -> None:
        follower: Stage | Writer = self.writer
        for stage in reversed(self.stages):
            stage.next = follower
            follower = stage
        much = any(stage.buffers_much for stage in self.stages)
        self.held_limit = HELD_LIMIT_LATENCY if much else HELD_LIMIT
        if not self.ended:
            # Without toxics a chunk goes straight to the other socket.
            self.entry = self._feed if self.stages else self.sink.write
            self.connection.route()

    def _feed(self, data: bytes) -> None:
        self.stages[0].feed(data, clock.monotonic_s())

    def _drop(self, data: bytes) -> None:
        """The link has ended: what still arrives is lost, as it is on a closed socket."""

    def add(self, toxic: Toxic) -> None:
        stage = make_stage(toxic, self)
        self.stages.append(stage)
        self._wire()
        stage.start()

    def remove(self, toxic: Toxic) -> None:
        for stage in [stage for stage in self.stages if stage.toxic is toxic]:
            stage.removed()
            if stage in self.stages:
                self.stages.remove(stage)
                self._wire()

    def update(self, toxic: Toxic) -> None:
        for stage in self.stages:
            if stage.toxic is toxic:
                stage.restart()

    def end(self, *, reset: bool = False) -> None:
        """The source has ended: tell the stages, behind all data."""
        if self.ended:
            return
        self.ended = True
        self.entry = self._drop
        self.resets_at_end = reset
        self.connection.route()
        (self.stages[0] if self.stages else self.writer).end()

    def finished(self) -> None:
        """A stage or the source ended the stream: there is no half-close."""
        self.ended = True
        self.entry = self._drop
        self.connection.route()
        if self.resets_at_end:
            self.sink.reset_when_drained()
        else:
            self.sink.close()

    def discard(self) -> None:
        self.ended = True
        self.entry = self._drop
        for stage in self.stages:
            stage.discarded()
        self.stages.clear()

    def reset_connection(self) -> None:
        self.connection.reset()

    def hold(self, size: int) -> None:
        self.held += size
        if self.held > self.held_limit:
            self.balance()

    def release(self, size: int) -> None:
        self.held -= size
        if self.source_paused:
            self.balance()

    def balance(self) -> None:
        """Reads from the source only while stages and the sink have room."""
        # Half the limit before reading again, so that the source does not flap.
        limit = self.held_limit // 2 if self.source_paused else self.held_limit
        pause = self.sink_full or self.held > limit
        if pause != self.source_paused:
            self.source_paused = pause
            self.source.set_reading(not pause)
