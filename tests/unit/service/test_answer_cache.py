"""Redis is a hint: what is not this caller's answer to this request is a miss."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from investment.idempotency import Answer, AnswerCache, CacheUnavailable, Scope, seal, unseal
from investment.limits import Action
from investment.settings import Settings

SCOPE = Scope(b"t" * 32, "POST /investments", "key", b"f" * 32, Action.EXECUTE_INVESTMENT)
ANSWER = Answer(201, '{"name":"Zoë"}', "/investments/1")
SEALED = seal(SCOPE, ANSWER)


def test_an_answer_comes_back_as_a_replay() -> None:
    assert unseal(SCOPE, SEALED) == replace(ANSWER, replayed=True)
    bare = Answer(409, "{}")
    assert unseal(SCOPE, seal(SCOPE, bare)) == replace(bare, replayed=True)


@pytest.mark.parametrize(
    "other", [replace(SCOPE, token_hash=b"u" * 32), replace(SCOPE, fingerprint=b"g" * 32)]
)
def test_another_callers_or_requests_answer_is_a_miss(other: Scope) -> None:
    assert unseal(other, SEALED) is None


@given(st.binary() | st.integers(0, len(SEALED) - 1).map(lambda end: SEALED[:end]))
def test_garbage_and_torn_values_are_a_miss(value: bytes) -> None:
    assert unseal(SCOPE, value) is None


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_one_wrong_bit_is_a_miss(bit: int) -> None:
    wrong = bytearray(SEALED)
    wrong[bit // 8] ^= 1 << bit % 8
    assert unseal(SCOPE, bytes(wrong)) is None


@pytest.fixture
def mad_redis(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server on loopback that answers everything with the same bytes."""

    def serve(server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                while client.recv(4096):
                    client.sendall(request.param)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    "mad_redis",
    [b"garbage\r\n", b"$x\r\n", b"$5\r\n\xff\xfe\r\n", b":1\r\n", b"*1\r\n+OK\r\n", b"+OK\r\n",
     b"-LOADING\r\n", b"-\xff\xff\r\n", b"*-1\r\n", b"\x00" * 64],
    indirect=True,
)  # fmt: skip
def test_a_mad_redis_is_a_miss_and_nothing_worse(mad_redis: int) -> None:
    url = f"redis://127.0.0.1:{mad_redis}/0"
    settings = Settings(database_url="postgresql+psycopg://", redis_url=url, redis_timeout_ms=100)
    cache = AnswerCache(settings)
    cache.put(SCOPE, ANSWER)
    cache.ping()
    with suppress(CacheUnavailable):
        assert cache.look_up(SCOPE)[0] is None
