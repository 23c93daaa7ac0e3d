"""Whatever is held, late or cut into pieces: every byte arrives once and in order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fault_injection.proxy import fit
from fault_injection.proxy.exchange import HELD_LIMIT, Exchange
from fault_injection.proxy.hub import Hub
from fault_injection.proxy.toxics import MESSAGE_TOXICS, MessageToxic
from tests.unit.proxy.test_decoders import DIALOGUES, ROUGH, cut


class Pipe:
    """Where a link's bytes end up."""

    def __init__(self) -> None:
        self.passed = bytearray()
        self.held = 0
        self.ended = False

    def entry(self, data: bytes) -> None:
        assert not self.ended
        assert data
        self.passed += data

    def hold(self, size: int) -> None:
        self.held += size

    def release(self, size: int) -> None:
        self.held -= size

    def end(self, *, reset: bool = False) -> None:
        self.ended = True


class Line:
    """A connection without sockets."""

    def __init__(self, toxics: list[MessageToxic]) -> None:
        self.proxy = SimpleNamespace(hub=Hub(), name="line", message_toxics=toxics)
        self.number, self.client_port, self.upstream_port = 1, 2, 3
        self.up, self.down = Pipe(), Pipe()
        self.endings: list[str] = []

    def cut(self, *, reset: bool) -> None:
        self.endings.append("cut")

    def reset_behind_request(self) -> None:
        self.endings.append("reset behind request")

    def close_both(self) -> None:
        self.endings.append("closed")

    def silence(self, toxic: str) -> None:
        self.endings.append("silent")


def late(stream: str, occurrence: int, times: int) -> MessageToxic:
    given = {"occurrence": occurrence, "times": times, "lease_ms": 600_000}
    return MESSAGE_TOXICS["hold"](f"{stream}-{occurrence}", stream, 1.0, given)


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.integers(0, 30_000), max_size=8),
    holds=st.lists(
        st.tuples(
            st.sampled_from(["upstream", "downstream"]), st.integers(0, 6), st.integers(1, 3)
        ),
        max_size=4,
    ),
    opens=st.lists(st.booleans(), min_size=1, max_size=8),
    leaves_early=st.booleans(),
)
def test_what_is_held_passes_later_in_order(protocol, points, holds, opens, leaves_early):
    toxics = [late(*hold) for hold in holds]
    line = Line(toxics)
    asyncio.run(talk(Exchange(line, protocol), toxics, protocol, points, opens, leaves_early))
    dialogue = DIALOGUES[protocol]
    assert line.up.passed == b"".join(request for request, _ in dialogue)
    assert line.down.passed == b"".join(reply for _, reply in dialogue)
    assert (line.up.held, line.down.held) == (0, 0)
    assert line.up.ended
    assert line.down.ended
    assert not [toxic for toxic in toxics if toxic.closed_gates]
    actions = [event.action for event in line.proxy.hub.events.items]
    assert actions.count("held") == actions.count("released")


async def talk(exchange, toxics, protocol, points, opens, leaves_early) -> None:
    for turn, (request, reply) in enumerate(DIALOGUES[protocol]):
        for part in cut(request, points):
            exchange.from_client(part)
        if opens[turn % len(opens)]:
            for toxic in toxics:
                toxic.release("released")
        for part in cut(reply, points):
            exchange.from_upstream(part)
    if leaves_early:
        exchange.client_ended()
    for toxic in toxics:
        # One that holds several messages is released as often.
        while toxic.release("released"):
            pass
    exchange.client_ended()
    exchange.upstream_ended()
    for toxic in toxics:
        toxic.retire()
    exchange.closed()


def some_toxic(protocol: str, type_: str, error_at: int, occurrence: int) -> MessageToxic:
    found = MESSAGE_TOXICS[type_]
    given: dict[str, object] = {"occurrence": occurrence, "times": 2}
    if "error" in found.defaults:
        errors = sorted(fit.errors(protocol))
        given["error"] = errors[error_at % len(errors)]
    stream = found.streams[error_at % len(found.streams)]
    return found(f"{type_}-{occurrence}", stream, 1.0, given)


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
@settings(max_examples=80, deadline=None)
@given(
    points=st.lists(st.integers(0, 30_000), max_size=6),
    chosen=st.lists(
        st.tuples(st.sampled_from(sorted(MESSAGE_TOXICS)), st.integers(0, 9), st.integers(0, 6)),
        min_size=1,
        max_size=4,
    ),
    rough=st.lists(st.tuples(st.booleans(), ROUGH), max_size=4),
    rough_from=st.integers(0, 10),
)
def test_any_toxics_on_any_traffic(protocol, points, chosen, rough, rough_from):
    """Nothing fails inside, at most one toxic ends the connection, and nothing stays closed."""
    toxics = [some_toxic(protocol, *one) for one in chosen]
    line = Line(toxics)
    dialogue = DIALOGUES[protocol]

    async def play() -> Exchange:
        exchange = Exchange(line, protocol)
        for request, reply in dialogue[:rough_from]:
            for part in cut(request, points):
                exchange.from_client(part)
            for part in cut(reply, points):
                exchange.from_upstream(part)
        for from_client, data in rough:
            if data:
                (exchange.from_client if from_client else exchange.from_upstream)(data)
        for toxic in toxics:
            toxic.retire()
        exchange.client_ended()
        exchange.upstream_ended()
        exchange.closed()
        return exchange

    exchange = asyncio.run(play())
    assert "the decoder failed" not in (exchange.reason or "")
    assert len(line.endings) <= 1
    assert exchange.finished == bool(line.endings)
    assert exchange.up.on_open is exchange.down.on_open is None
    assert (line.up.held, line.down.held) == (0, 0)
    assert len(exchange.asked) + len(exchange.held) <= 2 * HELD_LIMIT
    assert not exchange.decoder.pending or exchange.reason is not None
