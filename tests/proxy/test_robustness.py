"""Where Toxiproxy's server dies, hangs or does something else than was asked: ours does not."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import subprocess
import sys
import time

import psutil
import pytest

from harness.stacks.ports import free_port
from tests.proxy.conftest import ROOT, Control, connect, stop_proxy, wait_until
from tests.proxy.sockets import BUSY_S, ends, fill, read, took


def test_latencies_add_up_for_every_chunk_of_a_stream(pair, add, api):
    """Toxiproxy's second latency counts what later chunks waited for the first one."""
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


@pytest.mark.parametrize("before", [True, False])
def test_reset_peer_resets_live_connections_too(pair, add, before):
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


@pytest.mark.parametrize(
    "upstream",
    ["", ":", "x", "a\0b:1", "é:1", "[::1", "127.0.0.1:99999", "1:2:3", "a" * 300 + ":1"],
)
def test_hostile_upstreams_only_refuse(api, upstream):
    listen = api.client.create("127.0.0.1:1", "p").listen
    assert api.call("POST", "/proxies/p", {"upstream": upstream}).status_code == 200
    with connect(listen) as client:
        assert ends(client)


@pytest.mark.parametrize(
    ("type_", "attributes", "bound_mb"),
    [
        ("noop", {}, 4),
        ("bandwidth", {"rate": 0}, 8),
        ("slicer", {"average_size": 1, "delay": 50_000}, 8),
        ("latency", {"latency": 600_000}, 24),
    ],
)
def test_a_stuck_reader_stops_the_writer(pair, add, api, type_, attributes, bound_mb):
    add(type_, stream="upstream", **attributes)
    client, _ = pair()
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    fill(client)
    counted = api.get("/counters")["proxies"]["p"]
    held = counted["received_bytes"]["upstream"] - counted["sent_bytes"]["upstream"]
    assert held <= bound_mb * 1024 * 1024
    assert process.memory_info().rss - before <= (bound_mb + 16) * 1024 * 1024


def test_single_bytes_are_bounded_by_what_they_cost(pair, add, api):
    add("slicer", stream="upstream", average_size=1)
    add("latency", stream="upstream", latency=600_000)
    client, server = pair()
    before = psutil.Process(api.process.pid).memory_info().rss
    client.sendall(b"x" * 400_000)
    time.sleep(0.5)
    assert psutil.Process(api.process.pid).memory_info().rss - before < 64 * 1024 * 1024
    assert api.call("POST", "/reset").status_code == 204
    assert read(server, 400_000) == b"x" * 400_000


def test_slicing_into_single_bytes_leaves_the_api_a_turn(pair, add, api):
    add("slicer", average_size=1)
    client, server = pair()
    client.settimeout(20)
    server.sendall(b"x" * 40_000)
    assert took(lambda: api.get("/version"))[0] < BUSY_S
    assert read(client, 40_000) == b"x" * 40_000


def talk(api, *parts: bytes, half_close: bool = False) -> bytes:
    """Sends bytes to the API as they are, and reads until it hangs up."""
    with socket.create_connection((api.host, api.port), timeout=5) as sock:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                sock.sendall(part)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        # What was not read of a refused request makes the end a reset.
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(1 << 20):
                answer += part
        return answer


GET = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"


def test_hostile_http_gets_an_answer_or_the_end(api):
    assert b"400 Bad Request" in talk(api, b"\x16\x03\x01\x02\x00garbage\r\n\r\n")
    assert talk(api, GET + b"nonsense\r\n\r\n").index(b"200 OK") == len("HTTP/1.1 ")
    assert b"431 " in talk(api, b"GET / HTTP/1.1\r\nA: " + b"b" * 1_500_000)
    assert b"431 " in talk(api, b"GET /" + b"a" * 1_500_000)
    many = b"".join(b"a%d: b\r\n" % number for number in range(300))
    assert b"431 " in talk(api, b"GET / HTTP/1.1\r\n" + many)
    assert b"400 Bad Request" in talk(api, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk(api, GET, half_close=True).count(b"200 OK") == 1
    assert talk(api, GET * 10, half_close=True).count(b"200 OK") == 10
    whole = b"GET http://any/version HTTP/1.0\r\n\r\n"
    assert b"200 OK" in talk(api, whole)
    split = talk(api, b"GET //x%0d%0aSet-Cookie:a HTTP/1.0\r\n\r\n")
    assert b"\r\nSet-Cookie" not in split
    head = b"POST /proxies HTTP/1.1\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n"
    assert b"413 " in talk(api, head, b" " * 5_000_000)
    chunked = b"POST /reset HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"204 " in talk(api, chunked, b"3\r\nabc\r\n", b"0\r\n\r\n")
    lone = b'{"name":"\\ud800","upstream":"u:1","listen":"127.0.0.1:0"}'
    assert api.raw("POST", "/proxies", lone).status == 201
    assert list(api.get("/proxies")) == ["\ufffd"]


def test_requests_without_end_whose_answers_nobody_reads(api):
    before = psutil.Process(api.process.pid).memory_info().rss
    with socket.create_connection((api.host, api.port)) as flood:
        flood.settimeout(0.3)
        with pytest.raises(TimeoutError):
            flood.sendall(GET * 400_000)
        assert api.get("/version")
    assert psutil.Process(api.process.pid).memory_info().rss - before < 16 * 1024 * 1024


def test_large_answers_that_nobody_reads(api):
    api.client.create("127.0.0.1:1", "x" * 200_000)
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    with socket.create_connection((api.host, api.port)) as lazy:
        lazy.sendall(b"GET /proxies HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        for _ in range(20):
            assert api.get("/version")
            time.sleep(0.02)
        assert process.memory_info().rss - before < 16 * 1024 * 1024
        lazy.settimeout(10)
        read(lazy, 300 * 200_000)


def test_a_client_that_closes_its_side_early_is_answered(api):
    # The host is looked up in a thread: the end of what we send is there before the answer.
    body = b'{"name":"p","listen":"localhost:0","upstream":"u:1"}'
    head = b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert b"201 Created" in talk(api, head + body, half_close=True)


def test_it_recovers_from_running_out_of_descriptors(peer):
    port = free_port()
    limit = (32, 64)
    process = subprocess.Popen(
        [sys.executable, "-m", "fault_injection.proxy", "-host", "127.0.0.1", "-port", str(port),
         "-runtime-metrics"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    )  # fmt: skip
    running = Control(process, "127.0.0.1", port)
    try:
        wait_until(running.client.running)
        # As many as the hard limit allows.
        assert "process_max_fds 64\n" in running.raw("GET", "/metrics").body
        listen = running.client.create(peer.address, "p").listen
        crowd = [connect(listen) for _ in range(100)]
        for sock in crowd:
            sock.close()
        wait_until(lambda: works(running))
        client = connect(listen)
        wait_until(lambda: running.get("/counters")["proxies"]["p"]["open"] >= 1)
        client.close()
    finally:
        stop_proxy(running)


def works(running: Control) -> bool:
    try:
        return running.call("GET", "/version").status_code == 200
    except OSError:
        return False


def test_sockets_that_end_at_any_moment_leave_nothing_behind(api, peer):
    process = psutil.Process(api.process.pid)
    listen = api.client.create(peer.address, "p").listen
    api.call("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": 30}})
    api.call("POST", "/proxies/p/toxics", {"type": "slow_close", "attributes": {"delay": 30}})
    api.session.close()
    api.get("/version")
    descriptors = process.num_fds()
    for number in range(120):
        client = connect(listen)
        if number % 2:
            client.sendall(b"x" * number * 100)
        if number % 3 == 0:
            linger = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if number % 5:
            accepted = peer.accept()
            if number % 7 == 0:
                accepted.sendall(b"y" * 1000)
            if number % 4 == 0:
                accepted.close()
        client.close()
    peer.close()
    wait_until(lambda: api.get("/counters")["proxies"]["p"]["open"] == 0)
    wait_until(lambda: process.num_fds() <= descriptors)
    assert api.get("/connections")["connections"] == []
