"""Each standard toxic on real sockets; upper tolerances allow for a busy two-core machine."""

from __future__ import annotations

import socket
import time

import pytest

BUSY_S = 0.4


@pytest.fixture
def add(api):
    def add_toxic(type_: str, *, stream: str = "downstream", toxicity: float = 1, **attributes):
        body = {"type": type_, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        answer = api.call("POST", "/proxies/p/toxics", body)
        assert answer.status_code == 200, answer.text
        return f"/proxies/p/toxics/{type_}_{stream}"

    return add_toxic


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(min(size - len(data), 1 << 20))
        assert part, f"end of stream after {len(data)} of {size} bytes"
        data += part
    return data


def fill(sock: socket.socket) -> int:
    """Sends until nothing more is taken; returns how much was."""
    sock.settimeout(0.2)
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except TimeoutError:
        return sent


def ends(sock: socket.socket) -> bool:
    """Whether the peer closed or reset the connection."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def took(action) -> tuple[float, object]:
    start = time.monotonic()
    result = action()
    return time.monotonic() - start, result


def test_latency_shifts_the_stream_and_adds_up(pair, add, api):
    client, server = pair()
    add("latency", latency=100)
    second = {"type": "latency", "name": "second", "attributes": {"latency": 50}}
    api.call("POST", "/proxies/p/toxics", second)
    start = time.monotonic()
    for _ in range(5):
        server.sendall(b"x")
        time.sleep(0.02)
    assert read(client, 5) == b"xxxxx"
    elapsed = time.monotonic() - start
    assert 0.23 <= elapsed < 0.23 + BUSY_S
    client.sendall(b"up")
    assert took(lambda: server.recv(10))[0] < 0.1


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


def test_bandwidth_zero_and_less_hold_everything_until_changed(pair, add, api):
    client, server = pair()
    path = add("bandwidth", rate=0)
    server.sendall(b"kept")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert api.call("POST", path, {"attributes": {"rate": -5}}).status_code == 200
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(5)
    api.call("POST", path, {"attributes": {"rate": 1000}})
    assert read(client, 4) == b"kept"


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


@pytest.mark.parametrize("before", [True, False])
def test_reset_peer_resets_both_at_the_first_data(pair, add, before):
    if before:
        add("reset_peer")
    client, server = pair()
    if not before:
        add("reset_peer")
    server.sendall(b"x")
    for sock in (client, server):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_reset_peer_with_toxicity_zero_does_nothing(pair, add):
    add("reset_peer", toxicity=0)
    client, server = pair()
    server.sendall(b"x")
    assert client.recv(1) == b"x"
    server.close()
    assert client.recv(1) == b""


def test_slicer_cuts_and_loses_nothing(pair, add):
    add("slicer", average_size=100, delay=5_000)
    client, server = pair()
    server.sendall(bytes(range(250)) * 4)
    elapsed, data = took(lambda: read(client, 1000))
    assert data == bytes(range(250)) * 4
    assert 0.07 <= elapsed < 0.08 + BUSY_S


@pytest.mark.parametrize(
    "attributes",
    [{}, {"average_size": 10, "size_variation": 10**6}, {"average_size": -3, "size_variation": -9}],
)
def test_slicer_survives_what_kills_the_real_one(pair, add, attributes):
    add("slicer", **attributes)
    client, server = pair()
    server.sendall(b"x" * 100_000)
    assert read(client, 100_000) == b"x" * 100_000


def test_huge_jitter_does_not_kill(pair, add, api):
    path = add("latency", jitter=2**63 - 1)
    client, server = pair()
    server.sendall(b"x")
    api.call("DELETE", path)
    assert client.recv(1) == b"x"


@pytest.mark.parametrize(("limit", "passed"), [(0, 0), (10, 10), (15, 15)])
def test_limit_data(pair, add, limit, passed):
    add("limit_data", bytes=limit)
    client, server = pair()
    server.sendall(b"x" * 15)
    assert len(read_all(client)) == passed


def test_toxicity_is_sticky_and_the_seed_decides(pair, add, api):
    def passing() -> list[bool]:
        path = add("limit_data", toxicity=0.5, bytes=0, seed=3)
        found = []
        for _ in range(12):
            client, server = pair()
            server.sendall(b"x")
            found.append(client.recv(1) == b"x")
        api.call("DELETE", path)
        return found

    first = passing()
    assert len(set(first)) == 2
    # A new proxy counts its connections from one again.
    address = api.get("/proxies/p")["upstream"]
    api.call("DELETE", "/proxies/p")
    api.client.create(address, "p")
    assert passing() == first


def test_removal_under_back_pressure_does_not_hang(pair, add, api):
    client, server = pair()
    path = add("latency", latency=1)
    sent = fill(server)
    elapsed, status = took(lambda: api.call("DELETE", path).status_code)
    assert status == 204
    assert elapsed < 2
    assert api.get("/proxies/p")["toxics"] == []
    assert len(read(client, sent)) == sent


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


def test_an_unreachable_upstream_does_not_block_the_api(api):
    # A listener with a full backlog accepts nobody: the dial hangs.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listen = api.client.create(f"127.0.0.1:{port}", "stuck").listen
            clients = [
                socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2])))
                for _ in range(3)
            ]
            elapsed, status = took(lambda: api.call("DELETE", "/proxies/stuck").status_code)
            assert status == 204
            assert elapsed < 1
            for client in clients:
                client.settimeout(3)
                assert ends(client)
                client.close()


def test_a_refused_upstream_closes_the_client_and_is_recorded(api, peer):
    peer.close()
    listen = api.client.create(peer.address, "gone").listen
    with socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2]))) as client:
        assert client.recv(1) == b""
    actions = [event["action"] for event in api.events("gone")]
    assert actions[0] == "refused"


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
