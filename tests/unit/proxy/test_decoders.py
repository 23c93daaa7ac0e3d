"""Decoders give the same units however the bytes are cut."""

from __future__ import annotations

import contextlib
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.hub import Hub
from fault_injection.proxy.protocols import DECODERS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()


def pg(tag: bytes, body: bytes = b"") -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def startup(code: int, body: bytes = b"") -> bytes:
    return struct.pack(">II", len(body) + 8, code) + body


def query(text: bytes) -> bytes:
    return pg(b"Q", text + b"\0")


def ready(state: bytes) -> bytes:
    return pg(b"Z", state)


def complete(tag: bytes) -> bytes:
    return pg(b"C", tag + b"\0")


INSERT = b"insert into t values (1, 'it''s') /*traceparent='" + PARENT + b"'*/"
BIND = b"\0s1\0\0\0\0\0\0\0"
POSTGRES = [
    (startup(80877103), b"N"),
    (startup(196608, b"user\0x\0\0") + pg(b"p", b"secret\0"), pg(b"R", b"\0" * 4) + ready(b"I")),
    (query(b"BEGIN"), complete(b"BEGIN") + ready(b"T")),
    (
        query(INSERT + b" " * 6000 + b"/*traceparent='" + PARENT + b"'*/"),
        pg(b"N", b"notice") + complete(b"INSERT 0 1") + ready(b"T"),
    ),
    (
        pg(b"P", b"s1\0select $1\0\0\0") + pg(b"B", BIND) + pg(b"E", b"\0\0\0\0\0") + pg(b"S"),
        pg(b"1") + pg(b"2") + pg(b"D", b"x" * 7000) * 3 + complete(b"SELECT 3") + ready(b"T"),
    ),
    (
        pg(b"B", BIND) + pg(b"E", b"\0\0\0\0\0") + pg(b"S") + query(b"COMMIT"),
        pg(b"E", b"SERROR\0C23505\0\0") + ready(b"E") + complete(b"ROLLBACK") + ready(b"I"),
    ),
    (
        query(b"copy t from stdin") + pg(b"d", b"1\tx\n") * 5 + pg(b"c"),
        pg(b"G", b"\0\0\0") + complete(b"COPY 5") + ready(b"I") + pg(b"A", b"note"),
    ),
    (pg(b"X"), b""),
]
TASK = b'{"body": "' + b"x" * 9000 + b'", "headers": {"traceparent": "' + PARENT + b'"}}'


def resp(*arguments: bytes) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments]
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


REDIS = [
    (resp(b"HELLO", b"3"), b"%1\r\n+proto\r\n:3\r\n"),
    (resp(b"LPUSH", b"queue", TASK), b":1\r\n"),
    (b"PING\r\n", b"+PONG\r\n"),
    (resp(b"get", b"user:77") + resp(b"GET", b"b"), b"$-1\r\n-WRONGTYPE Operation\r\n"),
    (resp(b"BRPOP", b"queue", b"0"), b"*2\r\n" + resp(b"queue", TASK)[4:]),
    (resp(b"MULTI") + resp(b"HSET", b"unacked", b"tag9", TASK), b"+OK\r\n+QUEUED\r\n"),
    (resp(b"EXEC"), b"*1\r\n:1\r\n"),
    (resp(b"ZREM", b"unacked_index", b"tag9"), b">2\r\n+invalidate\r\n*0\r\n:1\r\n"),
    (
        resp(b"SUBSCRIBE", b"a", b"b"),
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
    ),
    (
        resp(b"UNSUBSCRIBE", b"a"),
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
        b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
    ),
]
HTTP = [
    (
        b"POST /a/7f9c24e8-3b12-4f4e-9f1b-2c5a8d3e6b70/execute HTTP/1.1\r\nTraceparent: "
        + PARENT
        + b"\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok",
    ),
    (
        b"GET /x?a=1&b=2 HTTP/1.1\r\n\r\nHEAD /y HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n"
        b"0\r\nTrailer: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
    ),
    (
        b"POST /z HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ),
    (
        b"GET /q HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    ),
]
DIALOGUES = {"postgres": POSTGRES, "redis": REDIS, "http": HTTP}
EXPECTED = {
    "postgres": [
        ("SSLREQUEST", "N", None, None),
        ("STARTUP", None, None, None),
        ("BEGIN", "BEGIN", 1, "transaction"),
        ("INSERT", "INSERT 0 1", 1, "text"),
        ("SELECT", "SELECT 3", 1, "transaction"),
        ("SELECT", "23505", 1, "transaction"),
        ("COMMIT", "ROLLBACK", 1, "transaction"),
        ("COPY", "COPY 5", None, None),
    ],
    "redis": [
        ("HELLO", "OK", None, None),
        ("LPUSH", "OK", None, "text"),
        ("PING", "PONG", None, None),
        ("GET", "OK", None, None),
        ("GET", "WRONGTYPE", None, None),
        ("BRPOP", "OK", None, "reply"),
        ("MULTI", "OK", 1, "transaction"),
        ("HSET", "QUEUED", 1, "text"),
        ("EXEC", "OK", 1, "transaction"),
        ("ZREM", "OK", None, "learned"),
        ("SUBSCRIBE", "OK", None, None),
        ("UNSUBSCRIBE", "OK", None, None),
    ],
    "http": [
        ("POST", 202, None, "text"),
        ("GET", 200, None, None),
        ("HEAD", 200, None, None),
        ("POST", 204, None, None),
        ("GET", 304, None, None),
    ],
}
FINGERPRINTS = {
    "postgres": ["sslrequest", "startup", "begin", "insert into t values (?, ?)", "select $1"],
    "redis": ["HELLO", "LPUSH queue", "PING", "GET user:{id}", "GET b", "BRPOP queue"],
    "http": ["POST /a/{id}/execute", "GET /x?a=?&b=?", "HEAD /y", "POST /z", "GET /q"],
}


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted({point % (len(data) + 1) for point in points}), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False) if start < end]


def run(protocol: str, points: list[int]) -> tuple[list, list[str]]:
    decoder = DECODERS[protocol](Hub())
    found = []
    for request, reply in DIALOGUES[protocol]:
        requested = [unit for part in cut(request, points) for unit, _ in decoder.requests(part)]
        assert all(unit.requested for unit in requested)
        for part in cut(reply, points):
            for unit, end in decoder.replies(part):
                assert 0 < end <= len(part)
                found += decoder.settle(unit)
    found += decoder.abandoned()
    described = [
        (
            unit.kind,
            unit.status,
            unit.transaction.number if unit.transaction else None,
            unit.attribution,
        )
        for unit in found
    ]
    assert {unit.trace for unit in found if unit.attribution} == {TRACE}
    return described, [unit.fingerprint for unit in found]


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
def test_units_of_a_dialogue(protocol):
    described, fingerprints = run(protocol, [])
    assert described == EXPECTED[protocol]
    expected = FINGERPRINTS[protocol]
    assert fingerprints[: len(expected)] == expected


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
def test_byte_by_byte(protocol):
    assert run(protocol, list(range(12_000)))[0] == EXPECTED[protocol]


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
@settings(max_examples=150, deadline=None)
@given(points=st.lists(st.integers(0, 30_000), max_size=12))
def test_every_split_gives_the_same_units(protocol, points):
    assert run(protocol, points) == run(protocol, [])


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
@settings(max_examples=200, deadline=None)
@given(
    chunks=st.lists(
        st.tuples(
            st.booleans(),
            st.binary(max_size=80)
            | st.sampled_from(
                [part for pairs in DIALOGUES.values() for pair in pairs for part in pair]
            ),
        ),
        max_size=12,
    )
)
def test_garbage_is_refused_and_never_crashes(protocol, chunks):
    decoder = DECODERS[protocol](Hub())
    with contextlib.suppress(Undecodable):
        for from_client, data in chunks:
            done = decoder.requests(data) if from_client else decoder.replies(data)
            for unit, _ in done:
                if not from_client:
                    decoder.settle(unit)
    decoder.abandoned()
    assert not decoder.pending


ROUGH = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [b"Q", b"P", b"E", b"S", b"Z", b"*", b"$", b"%", b"|", b">", b"\r\n", b":"]
        ),
        st.integers(-(2**33), 2**40).map(lambda number: b"%d\r\n" % number),
        st.integers(0, 2**32 - 1).map(lambda number: struct.pack(">I", number)),
        st.sampled_from([b"POST / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: "]),
        st.sampled_from([b"Transfer-Encoding: chunked\r\n\r\n", b"ffffffffffff\r\n", b"-1\r\n"]),
        st.sampled_from([startup(196608, b"\0"), b"*2\r\n$3\r\nGET\r\n", b"*-1\r\n", b"|1\r\n"]),
    ),
    max_size=30,
).map(b"".join)
KEPT_MAX = 800_000


def kept(thing: object, seen: set[int]) -> int:
    """How many bytes an object and what it refers to keep."""
    if id(thing) in seen or isinstance(thing, type | Hub):
        return 0
    seen.add(id(thing))
    if isinstance(thing, bytes | bytearray | str):
        return len(thing)
    if isinstance(thing, dict):
        return sum(kept(part, seen) for pair in thing.items() for part in pair)
    if isinstance(thing, list | tuple | set | frozenset) or type(thing).__name__ == "deque":
        return sum(kept(part, seen) for part in thing)
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    parts = [getattr(thing, name, None) for name in names] + list(
        getattr(thing, "__dict__", {}).values()
    )
    return sum(kept(part, seen) for part in parts)


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
@settings(max_examples=100, deadline=1_000)
@given(
    opening=st.integers(0, 8),
    rough=st.lists(st.tuples(st.booleans(), ROUGH), max_size=6),
    many=st.sampled_from([1, 1, 1, 2_000]),
)
def test_rough_input_after_a_good_start_is_bounded(protocol, opening, rough, many):
    """Hostile lengths, cut messages and endless lists, from either side: refused or bounded."""
    decoder = DECODERS[protocol](Hub())
    with contextlib.suppress(Undecodable):
        for request, reply in DIALOGUES[protocol][:opening]:
            decoder.requests(request)
            for unit, _ in decoder.replies(reply):
                decoder.settle(unit)
        for from_client, data in rough:
            data *= many if len(data) < 100 else 1
            for unit, end in (decoder.requests if from_client else decoder.replies)(data):
                assert 0 < end <= len(data)
                if not from_client:
                    decoder.settle(unit)
            assert isinstance(decoder.within_request, bool)
            assert isinstance(decoder.awaits, bool)
    assert kept(decoder, set()) < KEPT_MAX
    decoder.abandoned()
    decoder.upstream_ended()


@pytest.mark.parametrize("protocol", sorted(DIALOGUES))
def test_within_request_is_true_exactly_between_its_first_and_last_byte(protocol):
    """The gate waits for what is not complete, and must not wait for what is."""
    decoder = DECODERS[protocol](Hub())
    for request, reply in DIALOGUES[protocol]:
        for at in range(len(request)):
            done = decoder.requests(request[at : at + 1])
            assert not (done and decoder.within_request), request[: at + 1]
        assert not decoder.within_request, request
        decoder.replies(reply)


@pytest.mark.parametrize("line", [b"+\n", b"*1\n$1\na\n", b"$1\na\n", b"*-1\n", b"\n"])
def test_many_short_lines_take_time_in_proportion(line):
    """A chunk of a quarter of a megabyte must not stop the proxy for others."""
    decoder = DECODERS["redis"](Hub())
    data = line * (250_000 // len(line))
    begun_s = time.process_time()
    with contextlib.suppress(Undecodable):
        decoder.requests(data)
    with contextlib.suppress(Undecodable):
        decoder.replies(data)
    # In proportion it takes a quarter of a second on a busy machine; it once took twenty.
    assert time.process_time() - begun_s < 4


def test_hostile_lengths_allocate_nothing():
    decoder = DECODERS["postgres"](Hub())
    decoder.requests(startup(196608, b"\0"))
    decoder.requests(b"Q" + struct.pack(">I", 1 << 29) + b"x" * 100_000)
    assert len(decoder.client.body) < 6000
    redis = DECODERS["redis"](Hub())
    redis.requests(b"*2\r\n$3\r\nGET\r\n$900000000\r\n" + b"y" * 100_000)
    assert len(redis.client.bulk) < 6000
    for protocol, data in (
        ("postgres", struct.pack(">II", 1 << 31, 196608)),
        ("redis", b"*1\r\n$99999999999\r\n"),
        ("http", b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000),
    ):
        with pytest.raises(Undecodable):
            DECODERS[protocol](Hub()).requests(data)


def test_encryption_is_not_decoded():
    decoder = DECODERS["postgres"](Hub())
    decoder.requests(startup(80877103))
    with pytest.raises(Undecodable, match="encrypted"):
        decoder.replies(b"S")
