"""Joins one connection's bytes to its decoder: records units and lets message toxics bite."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.gate import Gate
from fault_injection.proxy.protocols import DECODERS, Handling, Unit

if TYPE_CHECKING:
    from fault_injection.proxy.connection import Connection
    from fault_injection.proxy.toxics import MessageToxic

# What is held back of one message: a request until it is complete, a reply that may still reveal
# the trace of its unit or that a toxic wants to have whole.
HELD_LIMIT = 1024 * 1024


class Exchange:
    """The decoded side of one connection."""

    __slots__ = (
        "asked",
        "biting",
        "connection",
        "deaf",
        "decoder",
        "down",
        "finished",
        "handled",
        "held",
        "hub",
        "judged",
        "leaving",
        "protocol",
        "reason",
        "resets",
        "toxics",
        "up",
    )

    def __init__(self, connection: Connection, protocol: str) -> None:
        self.connection = connection
        self.protocol = protocol
        self.hub = connection.proxy.hub
        self.toxics: list[MessageToxic] = connection.proxy.message_toxics
        self.decoder = DECODERS[protocol](self.hub)
        self.up, self.down = Gate(connection.up), Gate(connection.down)
        self.reason: str | None = None
        # A toxic has ended the connection; before that, it may have ended the client's part.
        self.finished = self.deaf = False
        self.resets = False
        # Bytes of a request, and of a reply, that are not complete and wait here.
        self.asked, self.held = bytearray(), bytearray()
        self.judged: Unit | None = None
        self.biting: MessageToxic | None = None
        # Units without a reply yet that are handled in another way than by passing it on.
        self.handled = 0
        self.leaving = False

    def from_client(self, data: bytes) -> None:
        if self.asked or self.up.on_open is not None or (self.toxics and self._on_requests()):
            self._guard_requests(data)
            return
        # Nothing can bite: the server need not wait for the decoding.
        self.connection.up.entry(data)
        if self.reason is None and not self.finished:
            try:
                self.decoder.requests(data)
            except Exception as error:
                self._give_up(error)

    def _guard_requests(self, data: bytes) -> None:
        """Forwards request by request, each only when no toxic wants it."""
        if self.deaf or self.finished:
            return
        if self.reason is not None:
            self.up.write(data)
            return
        begun = not self.asked and self.decoder.within_request
        start = 0
        try:
            for unit, end in self.decoder.requests(data):
                self._requested(unit, self._asked_with(data[start:end]), begun=begun)
                if self.deaf or self.finished:
                    return
                begun, start = False, end
        except Exception as error:
            self._give_up(error)
            self.up.write(data[start:])
            return
        if start < len(data):
            self._partly_requested(data[start:], begun=begun)

    def _partly_requested(self, data: bytes, *, begun: bool) -> None:
        """The bytes begin or continue a request, or belong to none."""
        passes = begun or not self._on_requests() or not self.decoder.within_request
        if passes or self.decoder.awaits or len(self.asked) + len(data) > HELD_LIMIT:
            self.up.write(self._asked_with(data))
        else:
            self.asked += data

    def _asked_with(self, data: bytes) -> bytes:
        if self.asked:
            data = bytes(self.asked) + data
            self.asked.clear()
        return data

    def _requested(self, unit: Unit, data: bytes, *, begun: bool) -> None:
        """`begun` says that a part of the request was forwarded before."""
        if begun:
            for toxic in self._on_requests():
                if toxic.matches(unit):
                    reason = f"{toxic.name}: its request was on its way before it was complete"
                    self.hub.connection_event("missed", self.connection, reason=reason)
            self.up.write(data)
            return
        toxic = self._toxic_before(unit)
        if toxic is None:
            self.up.write(data)
        else:
            toxic.on_request(self, unit, data)

    def from_upstream(self, data: bytes) -> None:
        if self.finished:
            return
        if self.reason is not None:
            self.down.write(data)
        elif (
            self.toxics
            or self.held
            or self.handled
            or self.judged is not None
            or self.down.on_open is not None
        ):
            self._guard_replies(data)
        else:
            # Nothing can bite: the client need not wait for the decoding.
            self.connection.down.entry(data)
            try:
                for unit, _ in self.decoder.replies(data):
                    self._record(unit)
            except Exception as error:
                self._give_up(error)

    def _guard_replies(self, data: bytes) -> None:
        """Delivers reply by reply, each only when no toxic wants it."""
        start = 0
        try:
            for unit, end in self.decoder.replies(data):
                self._replied(unit, data[start:end])
                if self.finished:
                    return
                start = end
        except Exception as error:
            self._give_up(error)
            self._deliver(data[start:])
            return
        if start < len(data):
            self._partly_replied(data[start:])

    def _replied(self, unit: Unit, data: bytes) -> None:
        handling = unit.handling
        if handling is not None and handling.changes_reply:
            self.handled -= 1
            self.held.clear()
            if handling.reply:
                self.down.write(handling.reply + unit.tail)
            self._record(unit)
        else:
            toxic = self.biting if self.judged is unit else self._toxic_for(unit)
            self.judged = self.biting = None
            if toxic is None:
                self._deliver(data)
                self._record(unit)
            else:
                data = self._held_with(data)
                self._record(unit)
                toxic.on_reply(self, unit, data)
        if handling is not None:
            for follower, reply, ends in handling.followers:
                self._answer(follower, reply, ends=ends)
        if self.leaving and not self.handled:
            self.up.then(self.connection.up.end)

    def _partly_replied(self, data: bytes) -> None:
        """The bytes begin or continue the reply of the next unit, or belong to none."""
        unit = self.decoder.head
        if unit is None or not unit.requested:
            self._deliver(data)
            return
        if unit.handling is not None and unit.handling.changes_reply:
            return
        room = len(self.held) + len(data) <= HELD_LIMIT
        if self.judged is not unit:
            if room and any(toxic.may_match_reply(unit) for toxic in self._on_replies()):
                self.held += data
                return
            self.judged, self.biting = unit, self._toxic_for(unit)
        if self.biting is None:
            self._deliver(data)
        elif not self.biting.keeps_reply:
            self.held.clear()
        elif room:
            self.held += data
        else:
            # Too much to wait for its end: what is there has to do.
            toxic, self.biting = self.biting, None
            toxic.on_reply(self, unit, self._held_with(data))

    def _on_requests(self) -> list[MessageToxic]:
        return [toxic for toxic in self.toxics if toxic.direction == "upstream"]

    def _on_replies(self) -> list[MessageToxic]:
        return [toxic for toxic in self.toxics if toxic.direction == "downstream"]

    def _toxic_for(self, unit: Unit) -> MessageToxic | None:
        """The first toxic that takes the unit's reply; every toxic counts what it matches."""
        return _first_taking(self._on_replies(), unit)

    def _toxic_before(self, unit: Unit) -> MessageToxic | None:
        """The first toxic that takes the unit's request."""
        return _first_taking(self._on_requests(), unit)

    def _held_with(self, data: bytes) -> bytes:
        if self.held:
            data = bytes(self.held) + data
            self.held.clear()
        return data

    def _deliver(self, data: bytes) -> None:
        data = self._held_with(data)
        if data:
            self.down.write(data)

    # What toxics do.

    def note(
        self, toxic: MessageToxic, unit: Unit, *, action: str = "", reason: str | None = None
    ) -> None:
        """Says what a toxic did to a unit."""
        unit.toxic = toxic.name
        action = action or toxic.action
        self.hub.toxic_event(action, self.connection, toxic.name, unit, reason=reason)

    def ask_no_more(self) -> None:
        """What the client still sends is lost with the connection."""
        self.deaf = True

    def finish(self, toxic: MessageToxic, unit: Unit) -> None:
        """The unit is the connection's last: a toxic ends the connection now."""
        self.finished = self.deaf = True
        self.held.clear()
        # Another toxic may wait there to end the connection, too.
        self.up.discard()
        if unit in self.decoder.pending:
            self.decoder.pending.remove(unit)
            self._record(unit)
        if not unit.seq:
            self._publish(unit.transaction.release())
        self.note(toxic, unit)

    def substitute(self, unit: Unit, reply: bytes) -> None:
        """The client gets `reply` in place of what the server will answer to a stand-in."""
        self._handling(unit).reply = reply
        self.handled += 1

    def expect_twice(self, unit: Unit, *, swallow_first: bool) -> None:
        """The server will answer twice; the client gets one of the two replies."""
        twin = unit.twin()
        self.decoder.pending.insert(self.decoder.pending.index(unit) + 1, twin)
        self._handling(unit if swallow_first else twin).swallowed = True
        self.handled += 1

    def answer(self, unit: Unit, reply: bytes, *, ends: bool) -> None:
        """The client gets `reply`, behind the replies that it waits for; the server knows nothing.

        `ends` says that the connection ends with it.
        """
        place = self.decoder.pending.index(unit)
        del self.decoder.pending[place]
        self.deaf = ends
        if place:
            before = self._handling(self.decoder.pending[place - 1])
            before.followers.append((unit, reply, ends))
            self.handled += 1
        else:
            self._answer(unit, reply, ends=ends, waited=False)

    def _answer(self, unit: Unit, reply: bytes, *, ends: bool, waited: bool = True) -> None:
        self.handled -= waited
        self._record(unit)
        self.down.write(reply)
        if ends:
            self.finished = True
            self.up.discard()
            self.down.then(self.connection.close_both)

    @staticmethod
    def _handling(unit: Unit) -> Handling:
        if unit.handling is None:
            unit.handling = Handling()
        return unit.handling

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
        self.hub.connection_event("undecoded", self.connection, reason=self.reason)
        self._publish(self.decoder.abandoned())
        self._deliver(b"")
        if self.asked:
            self.up.write(self._asked_with(b""))

    def client_ended(self) -> None:
        """The client sends no more; what is kept of its requests is still due."""
        if self.asked:
            self.up.write(self._asked_with(b""))
        # A server that is left between two copies may forget the second.
        self.leaving = self.handled > 0 and not self.deaf
        if not self.leaving:
            self.up.then(self.connection.up.end)

    def upstream_ended(self) -> None:
        """Some replies end with the stream; what was held back is due."""
        if not self.finished and self.reason is None:
            for unit in self.decoder.upstream_ended():
                self._replied(unit, b"")
            if not self.finished:
                self._deliver(b"")
        self.down.then(partial(self.connection.down.end, reset=self.resets))

    def closed(self) -> None:
        """The connection is gone: requests without a reply are recorded as such."""
        if self.reason is None:
            self._publish(self.decoder.abandoned())
        self.up.discard()
        self.down.discard()


def _first_taking(toxics: list[MessageToxic], unit: Unit) -> MessageToxic | None:
    taking = [toxic for toxic in toxics if toxic.matches(unit) and toxic.takes()]
    return taking[0] if taking else None
