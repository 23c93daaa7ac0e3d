"""Message toxics between urllib3 and a real uvicorn: what both ends saw."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import urllib3
import uvicorn

from tests.proxy.conftest import wait_until

UPSTREAM, DOWNSTREAM = "upstream", "downstream"


class Till:
    """An application that numbers the orders that it executes, and logs every request."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.orders = 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        size, more = 0, True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.log.append(f"disconnect {scope['path']}")
                return
            size += len(event.get("body", b""))
            more = event.get("more_body", False)
        self.log.append(f"{scope['method']} {scope['path']} {size}")
        if scope["path"] == "/slow":
            await asyncio.sleep(0.2)
        self.orders += scope["method"] == "POST"
        body = b"order %d" % self.orders * (1 if scope["path"] != "/big" else 200_000)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        # Without a length: uvicorn sends chunks.
        await send({"type": "http.response.body", "body": body[:3], "more_body": True})
        await send({"type": "http.response.body", "body": body[3:]})


@pytest.fixture(scope="module")
def uvicorn_port() -> Iterator[tuple[int, Till]]:
    app = Till()
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield sock.getsockname()[1], app
    server.should_exit = True
    thread.join(5)


@pytest.fixture
def till(uvicorn_port) -> Till:
    app = uvicorn_port[1]
    app.log.clear()
    app.orders = 0
    return app


@pytest.fixture
def url(link, uvicorn_port, till) -> str:
    return f"http://127.0.0.1:{link('web', 'http', uvicorn_port[0])}"


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=3) as found:
        yield found


@pytest.fixture
def trace() -> str:
    return uuid.uuid4().hex


def traced(trace: str) -> str:
    return f"traceparent: 00-{trace}-00f067aa0ba902b7-01"


def headers(trace: str, **more: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"} | more


def post(pool: urllib3.PoolManager, url: str, trace: str, **options):
    return pool.request("POST", f"{url}/orders", headers=headers(trace), body=b"one", **options)


def test_an_order_that_never_arrived(api, url, pool, till, trace):
    name = api.arm("web", "reset_before", UPSTREAM, trace=trace, kind="POST")
    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(pool, url, trace)
    assert post(pool, url, uuid.uuid4().hex).data == b"order 1"
    assert till.log == ["POST /orders 3"]
    assert [event["action"] for event in api.did(name)] == ["reset_before"]


def test_an_order_whose_answer_was_not_read(api, url, pool, till, trace):
    api.arm("web", "reset_after", UPSTREAM, trace=trace)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(pool, url, trace)
    wait_until(lambda: till.orders == 1)
    assert till.log == ["POST /orders 3"]


def test_silence_lasts_until_the_clients_timeout(api, url, pool, till, trace):
    api.arm("web", "drop_reply", DOWNSTREAM, trace=trace, then="silence")
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        post(pool, url, trace, timeout=0.2)
    assert till.orders == 1


@pytest.mark.parametrize(("answer", "got"), [("second", b"order 2"), ("first", b"order 1")])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_an_order_arrives_twice(api, url, pool, till, trace, answer, got, connection):
    name = api.arm("web", "deliver_twice", UPSTREAM, trace=trace, answer=answer)
    options = {"headers": headers(trace, Connection=connection), "body": b"one"}
    assert pool.request("POST", f"{url}/orders", **options).data == got
    wait_until(lambda: till.orders == 2)
    assert till.log == ["POST /orders 3"] * 2
    assert post(pool, url, trace).data == b"order 3"
    assert len(api.messages("web", trace=trace)) == 3
    assert [event["action"] for event in api.did(name)] == ["delivered_twice"]


def test_both_copies_arrive_although_the_client_has_left(api, url, till, trace):
    name = api.arm("web", "deliver_twice", UPSTREAM, trace=trace)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=3) as sock:
        head = f"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n{traced(trace)}\r\n\r\none"
        sock.sendall(head.encode())
        wait_until(lambda: api.did(name))
    wait_until(lambda: till.orders == 2)
    wait_until(lambda: not api.get("/connections")["connections"])


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [("500", 500, None), ("503", 503, "1"), ("429", 429, "1"), ("garbage", 200, None)],
)
def test_an_error_instead_of_the_order(api, url, pool, till, trace, error, status, retry_after):
    api.arm("web", "answer_with_error", UPSTREAM, trace=trace, error=error)
    answer = post(pool, url, trace)
    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)
    assert b"order" not in answer.data
    assert till.log == []
    assert post(pool, url, trace).data == b"order 1"
    units = api.messages("web", trace=trace)
    assert len({unit["connection"] for unit in units}) == 1


@pytest.mark.parametrize(("error", "status"), [("500", 500), ("503", 503), ("garbage", 200)])
def test_an_error_after_the_order_was_executed(api, url, pool, till, trace, error, status):
    api.arm("web", "answer_with_error", DOWNSTREAM, trace=trace, error=error)
    answer = post(pool, url, trace)
    assert answer.status == status
    assert b"order" not in answer.data
    assert till.orders == 1
    assert post(pool, url, trace).data == b"order 2"
    first = api.messages("web", trace=trace)[0]
    assert first["status"] == 200, "what the server said"


def test_an_error_for_a_head_request_has_no_body(api, url):
    api.arm("web", "answer_with_error", UPSTREAM, kind="HEAD", error="503")
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=3) as sock:
        for method, status, end in (("HEAD", b"503", b"\r\n\r\n"), ("GET", b"200", b"0\r\n\r\n")):
            sock.sendall(f"{method} /x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = b""
            while not received.endswith(end):
                received += sock.recv(1000)
            assert received.startswith(b"HTTP/1.1 " + status)


def test_pipelined_answers_stay_in_order(api, url, till, trace):
    api.arm("web", "answer_with_error", UPSTREAM, fingerprint="/second", error="429")
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=3) as sock:
        lines = [f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in ("slow", "second", "third")]
        sock.sendall("".join(lines).encode())
        data = b""
        while data.count(b"HTTP/1.1") < 3 or not data.endswith(b"0\r\n\r\n"):
            data += sock.recv(65536)
    statuses = [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"429", b"200"]
    assert till.log == ["GET /slow 0", "GET /third 0"]


def test_a_late_order_is_executed_after_its_client_gave_up(api, url, pool, till, trace):
    name = api.arm("web", "hold", UPSTREAM, trace=trace)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        post(pool, url, trace, timeout=0.2)
    pool.clear()
    assert till.log == []
    assert api.call("POST", f"/proxies/web/toxics/{name}/release").json() == {"released": 1}
    wait_until(lambda: till.orders == 1)
    wait_until(lambda: not api.get("/connections")["connections"])


def test_a_large_chunked_order_is_held_whole(api, url, pool, till, trace):
    name = api.arm("web", "delay", UPSTREAM, trace=trace, delay_ms=150)
    body = [b"x" * 1000] * 300
    begun_s = time.monotonic()
    pool.request("POST", f"{url}/orders", headers=headers(trace), body=iter(body), chunked=True)
    assert time.monotonic() - begun_s >= 0.15
    assert till.log == ["POST /orders 300000"]
    assert len(api.did(name)) == 2


def test_what_is_too_large_to_hold_passes_and_says_so(api, url, pool, till, trace):
    name = api.arm("web", "reset_before", UPSTREAM, trace=trace)
    body = b"x" * 3_000_000
    answer = pool.request("POST", f"{url}/orders", headers=headers(trace), body=body)
    assert answer.data == b"order 1"
    assert api.did(name) == []
    (event,) = [event for event in api.events("web") if event["action"] == "missed"]
    assert name in event["reason"]


def test_a_client_that_expects_to_be_told_to_go_on(api, url, till, trace):
    api.arm("web", "reset_before", UPSTREAM, trace=trace)
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=3) as sock:
        head = (
            f"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
            f"{traced(trace)}\r\n\r\n"
        )
        sock.sendall(head.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(b"one")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    assert till.orders == 1


@pytest.mark.parametrize(("path", "size"), [("/orders", 108), ("/big", 0)])
@pytest.mark.parametrize("then", ["end", "reset"])
def test_a_reply_is_cut_off(api, url, pool, till, trace, path, size, then):
    api.arm("web", "truncate", DOWNSTREAM, trace=trace, bytes=size, then=then)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        pool.request("POST", url + path, headers=headers(trace), body=b"one")
    assert till.orders == 1


def test_a_head_that_is_cut_off_looks_complete_to_some_clients(api, url, pool, till, trace):
    """Python's own client takes the end of the stream for the end of the head."""
    api.arm("web", "truncate", DOWNSTREAM, trace=trace, bytes=30)
    answer = post(pool, url, trace)
    assert (answer.status, answer.data, till.orders) == (200, b"", 1)


def test_a_held_reply_blocks_only_its_own_connection(api, url, pool, till, trace):
    name = api.arm("web", "hold", DOWNSTREAM, trace=trace)
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(post(pool, url, trace).data))
    waiting.start()
    wait_until(lambda: api.did(name))
    assert post(pool, url, uuid.uuid4().hex).data == b"order 2"
    assert answers == []
    api.call("DELETE", f"/proxies/web/toxics/{name}")
    waiting.join(3)
    assert answers == [b"order 1"]


def test_a_server_that_closes_while_its_reply_is_held(api, pair):
    api.call("POST", "/proxies/p", {"protocol": "http"})
    name = api.arm("p", "hold", DOWNSTREAM, kind="GET")
    client, server = pair()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    server.recv(100)
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    server.close()
    wait_until(lambda: api.did(name))
    api.call("POST", f"/proxies/p/toxics/{name}/release")
    received = b""
    while part := client.recv(100):
        received += part
    assert received.endswith(b"\r\n\r\nok")


def test_much_behind_a_held_request_pauses_its_sender(api, pair):
    api.call("POST", "/proxies/p", {"protocol": "http"})
    name = api.arm("p", "hold", UPSTREAM, kind="GET")
    client, server = pair()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    wait_until(lambda: api.did(name))
    head = b"POST /x HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n"
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.sendall(head + b"x" * 60_000_000)
    (state,) = api.get("/connections")["connections"]
    assert state["bytes_up"] < 4_000_000
    api.call("DELETE", f"/proxies/p/toxics/{name}")
    received = 0
    while received < 1_000_000:
        received += len(server.recv(1 << 20))


def test_the_exchange_of_a_trace_says_what_was_done_to_it(api, url, pool, trace):
    name = api.arm("web", "answer_with_error", UPSTREAM, trace=trace, occurrence=2, error="503")
    for _ in range(3):
        post(pool, url, trace)
        post(pool, url, uuid.uuid4().hex)
    units = api.messages("web", trace=trace)
    assert [(unit["toxic"], unit["status"]) for unit in units] == [
        (None, 200),
        (name, None),
        (None, 200),
    ]
    assert [unit["seq"] for unit in units] == sorted(unit["seq"] for unit in units)


def test_undecodable_traffic_is_an_event(api, pair):
    api.call("POST", "/proxies/p", {"protocol": "http"})
    api.arm("p", "reset_before", UPSTREAM)
    client, server = pair()
    client.sendall(b"GET / HT")
    client.sendall(b"TP/2.0\r\n\r\nmore")
    received = b""
    while not received.endswith(b"more"):
        received += server.recv(100)
    assert received == b"GET / HTTP/2.0\r\n\r\nmore"
    (event,) = [event for event in api.events("p") if event["action"] == "undecoded"]
    assert "not an HTTP/1.1 request" in event["reason"]
    client.sendall(b"later")
    assert server.recv(100) == b"later"


@pytest.mark.parametrize(("type_", "bytes_"), [("hold", 0), ("truncate", 20)])
def test_a_reply_in_pieces_is_kept_from_its_first_byte_on(api, pair, type_, bytes_):
    api.call("POST", "/proxies/p", {"protocol": "http"})
    given = {"bytes": bytes_} if bytes_ else {}
    name = api.arm("p", type_, DOWNSTREAM, kind="GET", **given)
    client, server = pair()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    server.recv(100)
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + b"x" * 50
    client.settimeout(0.1)
    for piece in (reply[:30], reply[30:60]):
        server.sendall(piece)
        with pytest.raises(TimeoutError):
            client.recv(100)
    client.settimeout(3)
    server.sendall(reply[60:])
    wait_until(lambda: api.did(name))
    if type_ == "hold":
        api.call("DELETE", f"/proxies/p/toxics/{name}")
    received = client.recv(200)
    assert received == (reply[:bytes_] if bytes_ else reply)


@pytest.mark.parametrize("type_", ["reset_before", "reset_after"])
def test_both_ends_read_a_reset(api, pair, type_):
    api.call("POST", "/proxies/p", {"protocol": "http"})
    api.arm("p", type_, UPSTREAM, kind="GET")
    client, server = pair()
    request = b"GET / HTTP/1.1\r\n\r\n"
    client.sendall(request)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    if type_ == "reset_after":
        assert server.recv(100) == request
    with pytest.raises(ConnectionResetError):
        server.recv(1)
