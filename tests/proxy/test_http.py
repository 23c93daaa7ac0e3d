"""The proxy between an HTTP client and a real HTTP server."""

from __future__ import annotations

import uuid

import pytest
import requests


@pytest.fixture
def url(link, http_server) -> str:
    return f"http://127.0.0.1:{link('web', 'http', http_server.server_port)}"


@pytest.fixture
def session():
    with requests.Session() as found:
        yield found


def traceparent(trace: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}


def test_every_framing_on_one_connection(api, url, session):
    trace, order = uuid.uuid4().hex, uuid.uuid4()
    headers = traceparent(trace)
    assert session.get(f"{url}/chunked?size=1", headers=headers).content == b"one" + b"two" * 1000
    assert session.head(f"{url}/x", headers=headers).status_code == 200
    assert session.get(f"{url}/nothing", headers=headers).status_code == 204
    posted = session.post(f"{url}/orders/{order}/execute", data=b"x" * 300_000, headers=headers)
    assert posted.status_code == 201
    session.get(f"{url}/plain")
    units = api.messages("web")[-5:]
    assert [(unit["fingerprint"], unit["status"]) for unit in units] == [
        ("GET /chunked?size=?", 200),
        ("HEAD /x", 200),
        ("GET /nothing", 204),
        ("POST /orders/{id}/execute", 201),
        ("GET /plain", 200),
    ]
    assert [unit["trace"] for unit in units] == [trace] * 4 + [None]
    assert len({unit["connection"] for unit in units}) == 1


def test_a_dropped_reply_was_a_done_request(api, url, session, http_server):
    trace = uuid.uuid4().hex
    api.drop_reply("web", trace=trace, kind="POST", fingerprint="/orders")
    assert session.post(f"{url}/orders", data=b"1").status_code == 201
    http_server.posted.clear()
    with pytest.raises(requests.ConnectionError):
        session.post(f"{url}/orders", data=b"1", headers=traceparent(trace))
    assert http_server.posted == ["/orders"]


def test_what_is_not_http_passes_as_bytes(api, pair):
    api.call("POST", "/proxies/p", {"protocol": "http"})
    client, server = pair()
    client.sendall(b"\x00\x01 no http\r\n\r\n")
    assert server.recv(100) == b"\x00\x01 no http\r\n\r\n"
    server.sendall(b"\xff")
    assert client.recv(100) == b"\xff"
    (state,) = api.get("/connections")["connections"]
    assert not state["decoded"]
    assert "not an HTTP/1.1 request" in state["reason"]
    assert (state["bytes_up"], state["bytes_down"]) == (14, 1)
