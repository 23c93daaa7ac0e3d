"""What all proxies of the process share: recorded messages, events and registered markers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from fault_injection.proxy import clock
from fault_injection.proxy.records import EVENT_CAPACITY, MESSAGE_CAPACITY, Record, Ring

if TYPE_CHECKING:
    from fault_injection.proxy.connection import Connection
    from fault_injection.proxy.protocols.base import Unit

MARKER_CAPACITY = 20_000
LEARNED_CAPACITY = 20_000


@dataclass(slots=True)
class Event(Record):
    """Something a proxy did: a toxic bit, a connection opened, closed or was refused."""

    at_ns: int
    proxy: str
    action: str
    connection: int
    client_port: int | None
    upstream_port: int | None
    toxic: str | None = None
    unit_seq: int | None = None
    trace: str | None = None
    kind: str | None = None
    fingerprint: str | None = None
    reason: str | None = None
    seq: int = 0

    def to_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in EVENT_FIELDS}


EVENT_FIELDS = tuple(field.name for field in fields(Event))


class Hub:
    """The process-wide record of messages and events, the markers to look for, and the seed."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self.messages: Ring[Unit] = Ring(MESSAGE_CAPACITY)
        self.events: Ring[Event] = Ring(EVENT_CAPACITY)
        self.markers: dict[str, str] = {}
        self.learned: dict[str, str] = {}

    def add_marker(self, marker: str, trace: str) -> None:
        """Units whose text holds the marker belong to the trace; the oldest markers give way."""
        self.markers[marker] = trace
        while len(self.markers) > MARKER_CAPACITY:
            del self.markers[next(iter(self.markers))]

    def learn(self, identifier: str, trace: str) -> None:
        """Later messages that only carry the identifier belong to the trace, too."""
        self.learned[identifier] = trace
        while len(self.learned) > LEARNED_CAPACITY:
            del self.learned[next(iter(self.learned))]

    def connection_event(
        self, action: str, connection: Connection, *, reason: str | None = None
    ) -> None:
        self._event(action, connection, reason=reason)

    def toxic_event(
        self,
        action: str,
        connection: Connection,
        toxic: str,
        unit: Unit,
        *,
        reason: str | None = None,
    ) -> None:
        self._event(
            action,
            connection,
            toxic=toxic,
            reason=reason,
            # What is not answered yet has no number yet.
            unit_seq=unit.seq or None,
            trace=unit.trace,
            kind=unit.kind,
            fingerprint=unit.fingerprint,
        )

    def _event(self, action: str, connection: Connection, **details: object) -> None:
        self.events.append(
            Event(
                at_ns=clock.monotonic_ns(),
                proxy=connection.proxy.name,
                action=action,
                connection=connection.number,
                client_port=connection.client_port,
                upstream_port=connection.upstream_port,
                **details,
            )
        )
