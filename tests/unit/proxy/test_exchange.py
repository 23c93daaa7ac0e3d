"""Whatever is held, late or cut into pieces: every byte arrives once and in order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fault_injection.proxy.exchange import Exchange
from fault_injection.proxy.hub import Hub
from fault_injection.proxy.toxics import MESSAGE_TOXICS, MessageToxic
from tests.unit.proxy.test_decoders import DIALOGUES, cut


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
