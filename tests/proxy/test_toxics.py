"""Each toxic on real sockets, through ours and, where it can be had, Toxiproxy's server."""

from __future__ import annotations

import socket
import time

import pytest

from tests.proxy.sockets import BUSY_S, ends, read, read_all, took

# What the real server does with bytes takes seconds to watch and changes with no commit of ours.
pytestmark = pytest.mark.parametrize(
    "wire", ["ours", pytest.param("toxiproxy", marks=pytest.mark.nightly)], indirect=True
)


@pytest.fixture
def api(wire):
    return wire


def test_latency_shifts_the_stream_of_one_direction(pair, add):
    client, server = pair()
    add("latency", latency=100)
    start = time.monotonic()
    for _ in range(5):
        server.sendall(b"x")
        time.sleep(0.02)
    assert read(client, 5) == b"xxxxx"
    elapsed = time.monotonic() - start
    assert 0.18 <= elapsed < 0.18 + BUSY_S
    client.sendall(b"up")
    assert took(lambda: server.recv(10))[0] < 0.1


def test_latencies_add_up(pair, add, api):
    client, server = pair()
    add("latency", latency=100)
    second = {"type": "latency", "name": "second", "attributes": {"latency": 50}}
    api.call("POST", "/proxies/p/toxics", second)
    start = time.monotonic()
    server.sendall(b"x")
    assert client.recv(1) == b"x"
    assert 0.149 <= time.monotonic() - start < 0.15 + BUSY_S


def test_removing_latency_releases_what_it_holds(pair, add, api):
    client, server = pair()
    path = add("latency", latency=60_000)
    server.sendall(b"first")
    server.sendall(b"second")
    time.sleep(0.05)
    assert api.call("DELETE", path).status_code == 204
    elapsed, data = took(lambda: read(client, 11))
    assert data == b"firstsecond"
    assert elapsed < BUSY_S


def test_bandwidth(pair, add):
    client, server = pair()
    add("bandwidth", rate=1000)
    server.sendall(b"x" * 480_000)
    elapsed, data = took(lambda: read(client, 480_000))
    assert len(data) == 480_000
    assert 0.45 <= elapsed < 0.48 + BUSY_S


def test_slow_close_delays_only_the_end_of_its_stream(pair, add):
    add("slow_close", stream="upstream", delay=300)
    client, server = pair()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    client.close()
    elapsed, data = took(lambda: server.recv(1))
    assert data == b""
    assert 0.29 <= elapsed < 0.3 + BUSY_S


def test_timeout_swallows_then_closes(pair, add):
    add("timeout", timeout=200)
    client, server = pair()
    server.sendall(b"lost")
    elapsed, data = took(lambda: client.recv(1))
    assert data == b""
    assert 0.15 <= elapsed < 0.2 + BUSY_S


def test_removing_a_timeout_closes(pair, add, api):
    path = add("timeout", timeout=0)
    client, server = pair()
    server.sendall(b"lost")
    api.call("DELETE", path)
    assert client.recv(1) == b""


def test_slicer_cuts_and_loses_nothing(pair, add):
    add("slicer", average_size=100, delay=5_000)
    client, server = pair()
    server.sendall(bytes(range(250)) * 4)
    elapsed, data = took(lambda: read(client, 1000))
    assert data == bytes(range(250)) * 4
    assert 0.07 <= elapsed < 0.08 + BUSY_S


@pytest.mark.parametrize(("limit", "passed"), [(0, 0), (10, 10), (15, 15)])
def test_limit_data(pair, add, limit, passed):
    add("limit_data", bytes=limit)
    client, server = pair()
    server.sendall(b"x" * 15)
    assert len(read_all(client)) == passed


def test_no_data_is_lost_while_toxics_come_and_go(pair, add, api):
    client, server = pair()
    data = bytes(range(256)) * 4000
    server.settimeout(10)
    received = b""
    for start in range(0, len(data), 102_400):
        path = add("latency" if start % 3 else "slicer", latency=20, average_size=700)
        server.sendall(data[start : start + 102_400])
        api.call("DELETE", path)
        received += read(client, 102_400)
    assert received == data


def test_half_close_closes_both(pair):
    client, server = pair()
    client.sendall(b"bye")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"bye"
    assert client.recv(1) == b""


def test_data_sent_before_the_upstream_answered_is_kept(pair):
    client, server = pair()
    client.sendall(b"x" * 3_000_000)
    assert len(read(server, 3_000_000)) == 3_000_000


def test_the_end_of_the_stream_is_not_delayed_by_latency(pair, add):
    add("latency", latency=400)
    client, server = pair()
    second, second_server = pair()
    server.close()
    elapsed, data = took(lambda: client.recv(1))
    assert (data, elapsed < 0.3) == (b"", True)
    second_server.sendall(b"first")
    second_server.close()
    elapsed, data = took(lambda: read_all(second))
    assert data == b"first"
    assert 0.39 <= elapsed < 0.4 + BUSY_S


def test_much_data_passes_at_once_behind_its_latency(pair, add):
    add("latency", latency=100)
    client, server = pair()
    start = time.monotonic()
    server.sendall(b"x" * 1_200_000)
    client.recv(1)
    first_s = time.monotonic() - start
    read(client, 1_199_999)
    assert first_s >= 0.099
    assert time.monotonic() - start < first_s + 0.1


def test_an_updated_latency_holds_for_what_comes_next(pair, add, api):
    client, server = pair()
    path = add("latency", latency=60_000)
    server.sendall(b"held")
    time.sleep(0.05)
    api.call("POST", path, {"attributes": {"latency": 100}})
    elapsed, data = took(lambda: client.recv(10))
    assert (data, elapsed < BUSY_S) == (b"held", True)
    start = time.monotonic()
    server.sendall(b"next")
    assert client.recv(10) == b"next"
    assert time.monotonic() - start >= 0.099


def test_a_bandwidth_of_zero_holds_until_it_is_removed(pair, add, api):
    client, server = pair()
    path = add("bandwidth", rate=0)
    server.sendall(b"kept")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5)
    assert api.call("DELETE", path).status_code == 204
    assert read(client, 4) == b"kept"


def test_small_messages_are_not_slowed_by_a_wide_bandwidth(pair, add):
    add("bandwidth", rate=1000)
    client, server = pair()
    start = time.monotonic()
    for _ in range(20):
        server.sendall(b"x")
        assert client.recv(1) == b"x"
    assert time.monotonic() - start < BUSY_S


def test_slow_close_of_the_other_stream_and_its_removal(pair, add, api):
    path = add("slow_close", stream="upstream", delay=60_000)
    client, server = pair()
    second, second_server = pair()
    server.close()
    assert took(lambda: ends(client))[0] < BUSY_S
    second.close()
    time.sleep(0.05)
    assert api.call("DELETE", path).status_code == 204
    assert took(lambda: second_server.recv(1))[0] < BUSY_S


def test_timeout_is_counted_from_its_update(pair, add, api):
    path = add("timeout", timeout=0)
    client, server = pair()
    server.sendall(b"lost")
    time.sleep(0.05)
    api.call("POST", path, {"attributes": {"timeout": 200}})
    elapsed, data = took(lambda: client.recv(1))
    assert data == b""
    assert 0.15 <= elapsed < 0.2 + BUSY_S


def test_reset_closes_connections_under_a_timeout(pair, add, api):
    add("timeout", timeout=0)
    client, _ = pair()
    assert api.call("POST", "/reset").status_code == 204
    assert client.recv(1) == b""


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_reset_peer_resets_both_at_the_first_data(pair, add, stream):
    add("reset_peer", stream=stream, timeout=50)
    client, server = pair()
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5)
    start = time.monotonic()
    (client if stream == "upstream" else server).sendall(b"x")
    for sock in (client, server):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert sock.recv(1) == b""
    assert time.monotonic() - start >= 0.049


def test_slicer_down_to_single_bytes(pair, add):
    add("slicer", average_size=1, delay=10_000)
    client, server = pair()
    server.sendall(b"x" * 24)
    pieces = []
    while sum(map(len, pieces)) < 24:
        pieces.append(client.recv(100))
    # A busy reader may find two pieces at once.
    assert len(pieces) >= 12
    assert b"".join(pieces) == b"x" * 24


def test_slicer_keeps_every_byte_in_order(pair, add):
    add("slicer", average_size=1024, size_variation=512)
    client, server = pair()
    data = bytes(range(256)) * 1875
    server.sendall(data)
    assert read(client, len(data)) == data


def test_the_count_of_limit_data_outlives_updates(pair, add, api):
    path = add("limit_data", bytes=10)
    client, server = pair()
    server.sendall(b"12345")
    assert read(client, 5) == b"12345"
    api.call("POST", path, {"attributes": {"bytes": 20}})
    server.sendall(b"67890")
    assert read(client, 5) == b"67890"
    api.call("POST", path, {"attributes": {"bytes": 3}})
    server.sendall(b"x")
    assert ends(client)


def test_toxics_of_a_chain_work_in_the_order_of_their_creation(pair, add, api):
    add("limit_data", bytes=4)
    add("latency", latency=100)
    client, server = pair()
    server.sendall(b"123456")
    elapsed, data = took(lambda: read_all(client))
    assert data == b"1234"
    assert 0.099 <= elapsed < 0.1 + BUSY_S


def test_a_toxic_works_on_its_stream_only(pair, add):
    add("timeout", stream="upstream", timeout=0)
    client, server = pair()
    client.sendall(b"lost")
    server.sendall(b"kept")
    assert client.recv(10) == b"kept"
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.recv(1)


def test_toxicity_is_the_connections_for_its_life(pair, add):
    add("bandwidth", toxicity=0.5, rate=0)
    passing = []
    for _ in range(16):
        client, server = pair()
        client.settimeout(0.03)
        server.sendall(b"x")
        passing.append(not silent(client))
        server.sendall(b"y")
        assert silent(client) is not passing[-1]
    assert set(passing) == {True, False}


def silent(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1)
    except TimeoutError:
        return True


@pytest.mark.nightly
def test_a_thousand_rounds_of_toxics_and_connections(pair, add, api):
    for number in range(1_000):
        type_ = ("latency", "noop", "slicer", "bandwidth")[number % 4]
        path = add(type_, rate=1000, average_size=9)
        client, server = pair()
        server.sendall(b"round")
        assert read(client, 5) == b"round"
        assert api.call("DELETE", path).status_code == 204
        client.close()
        server.close()
