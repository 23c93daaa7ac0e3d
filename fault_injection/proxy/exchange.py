"""Joins one connection's bytes to its decoder: records units and lets message toxics bite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.protocols import DECODERS, Unit

if TYPE_CHECKING:
    from fault_injection.proxy.connection import Connection
    from fault_injection.proxy.toxics import MessageToxic

# A reply that may still reveal the trace of its unit is held back up to this size.
HELD_LIMIT = 1024 * 1024


class Exchange:
    """The decoded side of one connection."""

    __slots__ = (
        "biting",
        "connection",
        "decoder",
        "finished",
        "held",
        "hub",
        "judged",
        "protocol",
        "reason",
        "toxics",
    )

    def __init__(self, connection: Connection, protocol: str) -> None:
        self.connection = connection
        self.protocol = protocol
        self.hub = connection.proxy.hub
        self.toxics: list[MessageToxic] = connection.proxy.message_toxics
        self.decoder = DECODERS[protocol](self.hub)
        self.reason: str | None = None
        self.finished = False
        self.held = bytearray()
        self.judged: Unit | None = None
        self.biting: MessageToxic | None = None

    def from_client(self, data: bytes) -> None:
        self.connection.up.entry(data)
        if self.reason is None and not self.finished:
            try:
                self.decoder.requests(data)
            except Exception as error:
                self._give_up(error)

    def from_upstream(self, data: bytes) -> None:
        if self.finished:
            return
        if self.reason is not None:
            self.connection.down.entry(data)
        elif self.toxics or self.held or self.judged is not None:
            self._guard(data)
        else:
            # Nothing can bite: the client need not wait for the decoding.
            self.connection.down.entry(data)
            try:
                for unit, _ in self.decoder.replies(data):
                    self._record(unit)
            except Exception as error:
                self._give_up(error)

    def _guard(self, data: bytes) -> None:
        """Delivers reply by reply, each only when no toxic wants it."""
        start = 0
        try:
            for unit, end in self.decoder.replies(data):
                if self._replied(unit, data[start:end]):
                    return
                start = end
        except Exception as error:
            self._give_up(error)
            self._deliver(data[start:])
            return
        if start < len(data):
            self._partly_replied(data[start:])

    def _replied(self, unit: Unit, data: bytes) -> bool:
        """Whether a toxic took the reply, and with it the connection."""
        toxic = self.biting if self.judged is unit else self._toxic_for(unit)
        self.judged = self.biting = None
        if toxic is None:
            self._deliver(data)
            self._record(unit)
            return False
        self.held.clear()
        self.finished = True
        self._record(unit)
        if not unit.seq:
            self._publish(unit.transaction.release())
        self.hub.toxic_event(toxic.action, self.connection, toxic.name, unit)
        toxic.bite(self.connection)
        return True

    def _partly_replied(self, data: bytes) -> None:
        """The bytes begin or continue the reply of the next unit, or belong to none."""
        unit = self.decoder.head
        if unit is None or not unit.requested:
            self._deliver(data)
            return
        if self.judged is not unit:
            undecided = any(toxic.may_match_reply(unit) for toxic in self.toxics)
            if undecided and len(self.held) + len(data) <= HELD_LIMIT:
                self.held += data
                return
            self.judged, self.biting = unit, self._toxic_for(unit)
        if self.biting is None:
            self._deliver(data)
        else:
            self.held.clear()

    def _toxic_for(self, unit: Unit) -> MessageToxic | None:
        """The first toxic that takes the unit; every toxic counts what it matches."""
        taking = [toxic for toxic in self.toxics if toxic.matches(unit) and toxic.takes()]
        return taking[0] if taking else None

    def _deliver(self, data: bytes) -> None:
        if self.held:
            data = bytes(self.held) + data
            self.held.clear()
        if data:
            self.connection.down.entry(data)

    def _record(self, unit: Unit) -> None:
        self._publish(self.decoder.settle(unit))

    def _publish(self, units: list[Unit]) -> None:
        for unit in units:
            unit.connection = self.connection
            self.hub.messages.append(unit)

    def _give_up(self, error: Exception) -> None:
        """From here on the connection carries bytes, and says so.

        Even a decoder's own defect must not cut a connection: it would look like the service's.
        """
        known = isinstance(error, Undecodable)
        self.reason = str(error) if known else f"the decoder failed: {error!r}"
        self._publish(self.decoder.abandoned())
        self._deliver(b"")

    def upstream_ended(self) -> None:
        """Some replies end with the stream; what was held back is due."""
        if self.finished or self.reason is not None:
            return
        for unit in self.decoder.upstream_ended():
            if self._replied(unit, b""):
                return
        self._deliver(b"")

    def closed(self) -> None:
        """The connection is gone: requests without a reply are recorded as such."""
        if self.reason is None:
            self._publish(self.decoder.abandoned())
