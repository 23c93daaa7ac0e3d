"""Toxiproxy's wire contract: endpoints, statuses, bodies, update and populate semantics."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists


def error(answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("\n")
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["error"]


def create(api, **fields):
    return api.call(
        "POST", "/proxies", {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"} | fields
    )


def test_the_official_python_client(api, peer):
    client = api.client
    assert client.running()
    assert client.version() == b'{"version": "2.12.0"}\n'
    proxy = client.create(peer.address, "one")
    with pytest.raises(ProxyExists):
        client.create(peer.address, "one")
    proxy.add_toxic(type="latency", attributes={"latency": 5})
    assert proxy.get_toxic("latency_downstream").attributes == {"latency": 5, "jitter": 0}
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="latencyx")
    with pytest.raises(ProxyExists):
        proxy.add_toxic(type="latency")
    proxy.destroy_toxic("latency_downstream")
    with pytest.raises(NotFound):
        proxy.destroy_toxic("latency_downstream")
    with proxy.down():
        assert client.get_proxy("one").enabled is False
    assert client.get_proxy("one").enabled is True
    assert client.reset()
    proxy.destroy()
    assert client.proxies() == {}


def test_shape_of_answers(api):
    answer = create(api, name="b<&>ü")
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-toxiproxy-request-id"]) == 20
    listen = answer.json()["listen"]
    assert answer.content.decode() == (
        f'{{"name":"b\\u003c\\u0026\\u003eü","listen":"{listen}","upstream":"127.0.0.1:9",'
        '"enabled":true,"Logger":{},"toxics":[]}'
    )
    assert api.call("GET", "/proxies/b%3C%26%3E%C3%BC").json() == answer.json()
    toxic = api.call(
        "POST",
        "/proxies/b%3C%26%3E%C3%BC/toxics",
        '{"TYPE":"latency","toxicity":0.3,"attributes":{"latency":1000.0,"other":"x"}} trailing',
    )
    assert toxic.status_code == 200
    assert toxic.text == (
        '{"attributes":{"latency":1000,"jitter":0},"name":"latency_downstream",'
        '"type":"latency","stream":"downstream","toxicity":0.3}'
    )


def test_error_catalogue(api, peer):
    call = api.call
    assert error(call("POST", "/proxies", b"")) == (400, "bad request body: EOF")
    assert error(create(api, name="")) == (400, "missing required field: name")
    assert error(create(api, name="x", upstream="")) == (400, "missing required field: upstream")
    assert error(create(api, name="x", enabled="yes"))[0] == 400
    assert create(api, name="x").status_code == 201
    assert error(create(api, name="x")) == (409, "proxy already exists")
    busy = create(api, name="y", listen=peer.address)
    assert error(busy) == (500, f"listen tcp {peer.address}: bind: address already in use")
    missing = create(api, name="y", listen="127.0.0.1")
    assert error(missing) == (500, "listen tcp: address 127.0.0.1: missing port in address")
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/toxics")):
        assert error(call(method, f"/proxies/none{path}", {})) == (404, "proxy not found")
    bad_stream = call("POST", "/proxies/x/toxics", {"type": "latency", "stream": "sideways"})
    expected = "stream was invalid, can be either upstream or downstream"
    assert error(bad_stream) == (400, expected)
    assert error(call("POST", "/proxies/x/toxics", {})) == (400, "invalid toxic type")
    wrong = {"type": "latency", "attributes": {"latency": 1.5}}
    assert error(call("POST", "/proxies/x/toxics", wrong))[0] == 400
    assert error(call("GET", "/proxies/x/toxics/none")) == (404, "toxic not found")


def test_routing(api):
    for path in ("/nothing", "/proxies/", "/proxies/x/y/z/a"):
        answer = api.call("GET", path)
        assert (answer.status_code, answer.text) == (404, "404 page not found\n")
        assert "x-toxiproxy-request-id" not in answer.headers
    for method, path in (("PUT", "/proxies"), ("HEAD", "/version"), ("OPTIONS", "/reset")):
        answer = api.call(method, path)
        assert (answer.status_code, answer.content) == (405, b"")
    browser = api.call("GET", "/version", headers={"User-Agent": "Mozilla/5.0"})
    assert (browser.status_code, browser.text) == (403, "User agent not allowed\n")
    moved = api.call("GET", "/a/../proxies", allow_redirects=False)
    assert moved.status_code in (200, 301)


def test_update_keeps_connections_unless_an_address_changes(api, pair, peer):
    client, server = pair()
    listen = api.get("/proxies/p")["listen"]
    same = {"listen": f"localhost:{listen.rpartition(':')[2]}", "protocol": "redis"}
    for method in ("POST", "PATCH"):
        assert api.call(method, "/proxies/p", same).status_code == 200
    client.sendall(b"still")
    assert server.recv(10) == b"still"
    assert api.call("POST", "/proxies/p", {"protocol": "smtp"}).status_code == 400
    failed = api.call("POST", "/proxies/p", {"listen": "bad"})
    assert error(failed) == (500, "address bad: missing port in address")
    api.call("POST", "/proxies/p/toxics", {"type": "noop"})
    shown = api.call("POST", "/proxies/p", {"upstream": "127.0.0.1:1"}).json()
    assert (shown["upstream"], shown["listen"]) == ("127.0.0.1:1", listen)
    assert [toxic["name"] for toxic in shown["toxics"]] == ["noop_downstream"]
    assert client.recv(1) == b""


def test_disable_refuses_and_enable_takes_the_same_port(api, pair):
    client, server = pair()
    listen = api.get("/proxies/p")["listen"]
    api.call("POST", "/proxies/p", {"enabled": False})
    assert client.recv(1) == server.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(listen.rpartition(":")[2])))
    assert api.get("/proxies/p")["listen"] == listen
    assert api.call("POST", "/reset").status_code == 204
    client, server = pair()
    client.sendall(b"back")
    assert server.recv(10) == b"back"


def test_populate(api, peer):
    free = peer.address
    assert api.call("POST", "/populate", []).json() == {"proxies": None}
    unnamed = api.call("POST", "/populate", [{"name": "a", "upstream": "u:1"}, {"upstream": "u:1"}])
    assert unnamed.status_code == 400
    assert unnamed.json()["error"] == "missing required field: name at proxy 2"
    assert api.get("/proxies") == {}
    entry = {"name": "a", "listen": "127.0.0.1:0", "upstream": "u:1", "protocol": "postgres"}
    (made,) = api.call("POST", "/populate", [entry]).json()["proxies"]
    assert made["protocol"] == "postgres"
    api.call("POST", "/proxies/a/toxics", {"type": "noop"})
    again = entry | {"listen": made["listen"], "enabled": False}
    (kept,) = api.call("POST", "/populate", [again]).json()["proxies"]
    assert kept["enabled"] is True
    assert len(kept["toxics"]) == 1
    (replaced,) = api.call("POST", "/populate", [again | {"upstream": "u:2"}]).json()["proxies"]
    assert (replaced["toxics"], replaced["enabled"]) == ([], False)
    taken = [{"name": "b", "upstream": "u:1", "listen": "127.0.0.1:0"}]
    taken.append({"name": "c", "upstream": "u:1", "listen": free})
    failed = api.call("POST", "/populate", taken)
    assert failed.status_code == 500
    assert [proxy["name"] for proxy in failed.json()["proxies"]] == ["b"]


def test_toxic_update_merges_and_listing_has_upstream_first(api):
    create(api, name="x")
    for stream in ("downstream", "UPSTREAM"):
        api.call("POST", "/proxies/x/toxics", {"type": "latency", "stream": stream})
    listed = api.get("/proxies/x/toxics")
    assert [toxic["name"] for toxic in listed] == ["latency_UPSTREAM", "latency_downstream"]
    path = "/proxies/x/toxics/latency_downstream"
    changed = api.call("PATCH", path, {"attributes": {"jitter": 3}, "toxicity": 0.5}).json()
    assert changed["attributes"] == {"latency": 0, "jitter": 3}
    bad = api.call("POST", path, {"attributes": {"jitter": "x"}, "toxicity": 1})
    assert error(bad)[0] == 400
    assert api.get(path) == changed
    seeded = api.call("POST", path, {"attributes": {"seed": 7}}).json()
    assert seeded["attributes"]["seed"] == 7


@pytest.mark.parametrize(
    ("attributes", "fragment"),
    [
        ({"trace": "abc"}, "32 lower-case hex digits"),
        ({"then": "explode"}, "reset or silence"),
        ({"occurrence": -1}, "too small"),
        ({"times": 0}, "too small"),
        ({"kind": 3}, "must be a string"),
        ({"occurence": 1}, "unknown attribute"),
    ],
)
def test_drop_reply_is_validated(api, attributes, fragment):
    create(api, name="x")
    answer = api.call("POST", "/proxies/x/toxics", {"type": "drop_reply", "attributes": attributes})
    assert error(answer)[0] == 400
    assert fragment in answer.json()["error"]
    assert api.get("/proxies/x/toxics") == []
    upstream = {"type": "drop_reply", "stream": "upstream"}
    assert api.call("POST", "/proxies/x/toxics", upstream).status_code == 400


def test_events_tell_of_connections(api, pair):
    client, server = pair()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    port = client.getsockname()[1]
    (opened,) = [e for e in api.events("p") if e["client_port"] == port]
    assert opened["action"] == "opened"
    assert opened["upstream_port"]
    page = api.get(f"/events?after={opened['seq']}")
    assert page["events"] == []
    assert page["last_seq"] == opened["seq"]
    assert api.call("GET", "/events?after=x").status_code == 400


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "fault_injection.proxy"]
    shown = subprocess.run([*command, "-version"], capture_output=True, text=True, check=True)
    assert shown.stdout == "toxiproxy-server version 2.12.0\n"
    config = tmp_path / "proxies.json"
    config.write_text(json.dumps([{"name": "c", "listen": "127.0.0.1:0", "upstream": "u:1"}]))
    arguments = ["--host", "127.0.0.1", "--port", "0", "-config", str(config)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
    line = json.loads(process.stdout.readline())
    with socket.create_connection((line["host"], line["port"])) as sock:
        sock.sendall(b"GET /proxies HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["c"]
    process.send_signal(2)
    assert process.wait(5) == 0
