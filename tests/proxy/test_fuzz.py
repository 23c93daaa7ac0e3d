"""Random bodies, paths, bytes and orders of events: no crash, no hang, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.conftest import connect, wait_until

bounded = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
STATUSES = {200, 201, 204, 301, 400, 403, 404, 405, 409, 413, 431, 500}
TYPES = ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data",
         "noop", "drop_reply", "", "x"]  # fmt: skip
NAMES = ["latency", "jitter", "rate", "delay", "timeout", "average_size", "size_variation", "bytes",
         "seed", "connections", "every", "trace", "kind", "times"]  # fmt: skip

numbers = st.one_of(
    st.integers(-5, 5), st.integers(), st.floats(), st.sampled_from([2**63 - 1, -(2**63), 10**30])
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
toxics = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=5) | anything,
        "type": st.sampled_from(TYPES) | anything,
        "stream": st.sampled_from(["upstream", "downstream", "both", "UPSTREAM", ""]) | anything,
        "toxicity": st.floats(0, 1) | anything,
        "attributes": st.dictionaries(st.sampled_from(NAMES), numbers) | anything,
    },
)
# Only loopback is ever listened on.
proxies = st.fixed_dictionaries(
    {"listen": st.sampled_from(["127.0.0.1:0", "localhost:0", "127.0.0.1", "127.0.0.1:x", "[::1"])},
    optional={
        "name": st.text(max_size=5) | anything,
        "upstream": st.text(max_size=8) | anything,
        "enabled": st.booleans() | anything,
        "protocol": st.sampled_from(["", "redis", "http", "postgres"]) | anything,
        "toxics": st.lists(toxics, max_size=3) | anything,
        "listen_tls": anything,
        "upstream_tls": anything,
    },
)
requests = st.one_of(
    st.tuples(st.just("POST"), st.just("/proxies"), proxies),
    st.tuples(st.just("POST"), st.just("/populate"), st.lists(proxies, max_size=3) | anything),
    st.tuples(st.sampled_from(["POST", "PATCH"]), st.just("/proxies/p"), proxies),
    st.tuples(st.just("POST"), st.just("/proxies/p/toxics"), toxics),
    st.tuples(st.sampled_from(["PATCH", "POST", "DELETE"]), st.just("/proxies/p/toxics/t"), toxics),
    st.tuples(st.just("POST"), st.just("/markers"), anything),
    st.tuples(st.just("POST"), st.just("/reset"), anything),
    st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
        st.text("/.%2fpoxies?=&é\\~", max_size=12).map(lambda text: f"/{text}"),
        anything,
    ),
)


def tasks(api) -> int:
    return int(re.search(r"^python_asyncio_tasks (\d+)$", api.raw("GET", "/metrics").body, re.M)[1])


@pytest.fixture
def nothing_left(api):
    """What the process holds is the same before and after the test."""
    process = psutil.Process(api.process.pid)
    api.get("/version")
    before = tasks(api), process.num_fds()
    yield
    api.client.destroy_all()
    for name in api.get("/proxies"):
        path = "".join(f"%{byte:02X}" for byte in name.encode())
        assert api.raw("DELETE", f"/proxies/{path}").status == 204
    wait_until(lambda: tasks(api) <= before[0] and process.num_fds() <= before[1])


def test_bodies_and_paths(api, nothing_left):
    @bounded
    @given(st.lists(requests, min_size=1, max_size=6))
    def run(calls):
        start = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
        api.call("POST", "/populate", [start | {"toxics": [{"type": "noop", "name": "t"}]}])
        for method, path, body in calls:
            target = path.encode("ascii", "ignore").decode()
            answer = api.raw(method, target, json.dumps(body).encode())
            assert answer.status in STATUSES, answer
            assert "internal error" not in answer.body
        for proxy in json.loads(api.raw("GET", "/proxies").body).values():
            assert proxy["toxics"] == sorted(
                proxy["toxics"], key=lambda toxic: toxic["stream"].lower() != "upstream"
            )
        assert api.call("DELETE", "/proxies/p").status_code in (204, 404)

    run()


HTTP = [
    b"GET /version HTTP/1.1\r\n",
    b"HEAD /version HTTP/1.1\r\n",
    b"POST /proxies HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"5\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"{}",
    b"\0",
]


def test_bytes_that_are_no_http(api, nothing_left):
    @bounded
    @given(st.lists(st.sampled_from(HTTP) | st.binary(max_size=20), max_size=8), st.booleans())
    def run(parts, wait):
        sock = socket.create_connection((api.host, api.port), timeout=5)
        # Hung up on is an answer, too; a timeout, which is no ConnectionError, is none.
        with sock, contextlib.suppress(ConnectionError):
            for part in parts:
                sock.sendall(part)
            if wait:
                # The end of what we send ends the conversation, whatever was said.
                half_close(sock)
                while sock.recv(65536):
                    pass
        assert api.raw("GET", "/version").status == 200

    run()


def half_close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


STEPS = ["send", "answer", "close", "close server", "reset", "toxic", "heal", "disable", "enable"]


def test_connections_that_end_at_any_moment(api, peer, nothing_left):
    body = {"name": "p", "listen": "127.0.0.1:0", "upstream": peer.address, "protocol": "redis"}
    listen = api.call("POST", "/proxies", body).json()["listen"]
    peer.listener.settimeout(0.02)

    @bounded
    @given(
        st.lists(st.sampled_from(STEPS), max_size=8),
        st.sampled_from(TYPES[:8]),
        st.dictionaries(st.sampled_from(NAMES[:8]), st.integers(0, 20)),
    )
    def run(steps, type_, attributes):
        api.call("POST", "/proxies/p", {"enabled": True})
        client, server = connect(listen), None
        toxic = {"name": "t", "type": type_, "stream": "both", "attributes": attributes}
        with contextlib.suppress(TimeoutError):
            server = peer.accept()
        for step in steps:
            with contextlib.suppress(OSError):
                if step == "send":
                    client.sendall(b"*1\r\n$4\r\nPING\r\n")
                elif step == "answer" and server is not None:
                    server.sendall(b"+PONG\r\n" * 100)
                elif step == "reset":
                    linger = struct.pack("ii", 1, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    client.close()
                elif step == "close":
                    client.close()
                elif step == "close server" and server is not None:
                    server.close()
            if step in ("disable", "enable"):
                api.call("POST", "/proxies/p", {"enabled": step == "enable"})
            elif step == "toxic":
                api.call("POST", "/proxies/p/toxics", toxic)
            elif step == "heal":
                assert api.call("POST", "/reset").status_code == 204
        client.close()
        if server is not None:
            server.close()
        assert api.call("POST", "/reset").status_code == 204
        assert api.call("POST", "/proxies/p", {"enabled": False}).status_code == 200
        assert api.get("/connections")["connections"] == []
        with contextlib.suppress(TimeoutError):
            while server is None:
                server = peer.accept()
                server.close()

    run()
