"""Toxiproxy's wire contract, held by ours and, where it can be had, by the real server.

What only ours does is in test_extras.py and test_robustness.py.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
STREAM_INVALID = "stream was invalid, can be either upstream or downstream"


@pytest.fixture
def api(wire):
    return wire


def error(answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == TEXT
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert answer.text == json.dumps(body, separators=(",", ":")) + "\n"
    assert list(body) == ["error", "status"]
    assert body["status"] == answer.status_code
    return answer.status_code, body["error"]


def create(api, **fields):
    return api.call(
        "POST", "/proxies", {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"} | fields
    )


def port_of(listen: str) -> int:
    return int(listen.rpartition(":")[2])


def test_the_official_python_client(api, peer):
    client = api.client
    assert client.running()
    # A server built with `go install` calls itself "git".
    assert re.fullmatch(rb'\{"version": "(2\.12\.0|git)"\}\n', client.version())
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
    wanted = [{"name": name, "upstream": peer.address, "listen": "127.0.0.1:0"} for name in "ab"]
    assert [made.name for made in client.populate(wanted)] == ["a", "b"]
    assert sorted(client.proxies()) == ["a", "b", "one"]
    proxy.destroy()
    client.destroy_all()
    assert client.proxies() == {}


def test_the_official_command_line(api, peer, toxiproxy_cli):
    def cli(line: str) -> str:
        argv = [str(toxiproxy_cli), "--host", api.url, *line.split()]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    assert cli(f"create -l localhost:0 -u {peer.address} p") == "Created new proxy p"
    listen = api.get("/proxies/p")["listen"]
    assert cli("list") == f"p\t{listen}\t{peer.address}\tenabled\t0"
    added = cli("toxic add -t latency -a latency=100 -tox 0.5 -u p")
    assert added == "Added upstream latency toxic 'latency_upstream' on proxy 'p'"
    cli("toxic update -n latency_upstream -a jitter=7 p")
    attributes = "attributes=[\tjitter=7\tlatency=100\t]"
    assert cli("inspect p") == (
        f"latency_upstream\ttype=latency\tstream=upstream\ttoxicity=1.00\t{attributes}"
    )
    assert cli("toggle p") == "Proxy p is now disabled"
    assert cli("toggle p") == "Proxy p is now enabled"
    assert len(api.get("/proxies/p/toxics")) == 1
    removed = cli("toxic remove -n latency_upstream p")
    assert removed == "Removed toxic 'latency_upstream' on proxy 'p'"
    assert cli("delete p") == "Deleted proxy p"
    assert api.get("/proxies") == {}


def test_shape_of_answers(api):
    answer = create(api, name="b<&>ü")
    assert answer.status_code == 201
    assert answer.headers["content-type"] == JSON
    assert re.fullmatch("[0-9a-z]{20}", answer.headers["x-toxiproxy-request-id"])
    listen = answer.json()["listen"]
    shown = (
        f'{{"name":"b\\u003c\\u0026\\u003eü","listen":"{listen}","upstream":"127.0.0.1:9",'
        '"enabled":true,"Logger":{},"toxics":[]}'
    )
    assert answer.content.decode() == shown
    assert api.call("GET", "/proxies/b%3C%26%3E%C3%BC").text == shown
    assert api.call("GET", "/proxies").text == f'{{"b\\u003c\\u0026\\u003eü":{shown}}}'
    toxic = api.call(
        "POST",
        "/proxies/b%3C%26%3E%C3%BC/toxics",
        '{"TYPE":"latency","toxicity":0.3,"attributes":{"latency":1000,"other":"x"}} trailing',
    )
    assert toxic.status_code == 200
    assert toxic.text == (
        '{"attributes":{"latency":1000,"jitter":0},"name":"latency_downstream",'
        '"type":"latency","stream":"downstream","toxicity":0.3}'
    )
    version = api.call("GET", "/version")
    assert version.headers["content-type"] == "application/json;charset=utf-8"
    assert api.call("DELETE", "/proxies/b%3C%26%3E%C3%BC").content == b""


@pytest.mark.parametrize(
    ("type_", "attributes"),
    [
        ("latency", '{"latency":0,"jitter":0}'),
        ("bandwidth", '{"rate":0}'),
        ("slow_close", '{"delay":0}'),
        ("timeout", '{"timeout":0}'),
        ("reset_peer", '{"timeout":0}'),
        ("slicer", '{"average_size":0,"size_variation":0,"delay":0}'),
        ("limit_data", '{"bytes":0}'),
        ("noop", "{}"),
    ],
)
def test_attributes_of_every_toxic(api, type_, attributes):
    create(api, name="x")
    shown = api.call("POST", "/proxies/x/toxics", {"type": type_, "stream": "upstream"}).text
    assert shown == (
        f'{{"attributes":{attributes},"name":"{type_}_upstream","type":"{type_}",'
        '"stream":"upstream","toxicity":1}'
    )
    assert api.call("GET", f"/proxies/x/toxics/{type_}_upstream").text == shown
    assert api.call("GET", "/proxies/x/toxics").text == f"[{shown}]"


@pytest.mark.parametrize(
    ("toxicity", "shown"),
    [("0.1", "0.1"), ("7", "7"), ("-1", "-1"), ("0.33333333333", "0.33333334"), ("null", "1")],
)
def test_toxicity_is_a_float_of_32_bits(api, toxicity, shown):
    create(api, name="x")
    body = f'{{"type":"noop","toxicity":{toxicity}}}'
    assert api.call("POST", "/proxies/x/toxics", body).text.endswith(f'"toxicity":{shown}}}')


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/proxies", "", 400, "bad request body: EOF"),
        ("/proxies", "{", 400, None),
        ("/proxies", "{bad", 400, None),
        ("/proxies", "[]", 400, None),
        ("/proxies", "{}", 400, "missing required field: name"),
        ("/proxies", "null", 400, "missing required field: name"),
        ("/proxies", '{"upstream":"u:1"}', 400, "missing required field: name"),
        ("/proxies", '{"name":"n"}', 400, "missing required field: upstream"),
        ("/proxies", '{"name":1,"upstream":"u:1"}', 400, None),
        ("/proxies", '{"name":"n","upstream":"u:1","enabled":"yes"}', 400, None),
        ("/proxies", '{"name":"n","upstream":"u:1","enabled":NaN}', 400, None),
        ("/proxies", '{"name":"x","upstream":"u:1"}', 409, "proxy already exists"),
        ("/proxies/none", "{}", 404, "proxy not found"),
        ("/proxies/x", "", 400, "bad request body: EOF"),
        ("/proxies/x", '{"listen":"bad"}', 500, "address bad: missing port in address"),
        ("/proxies/none/toxics", "{}", 404, "proxy not found"),
        ("/proxies/x/toxics", "", 400, "bad request body: EOF"),
        ("/proxies/x/toxics", "{}", 400, "invalid toxic type"),
        ("/proxies/x/toxics", '{"type":"latencyx"}', 400, "invalid toxic type"),
        ("/proxies/x/toxics", '{"type":"latency","stream":""}', 400, STREAM_INVALID),
        ("/proxies/x/toxics", '{"type":"latencyx","stream":"sideways"}', 400, STREAM_INVALID),
        ("/proxies/x/toxics", '{"type":"latencyx","name":"t"}', 400, "invalid toxic type"),
        ("/proxies/x/toxics", '{"type":"noop","name":"t"}', 409, "toxic already exists"),
        ("/proxies/x/toxics", '{"type":"noop","name":"t","stream":"upstream"}', 409, None),
        ("/proxies/x/toxics", '{"type":"latency","attributes":{"latency":1.5}}', 400, None),
        ("/proxies/x/toxics", '{"type":"latency","attributes":{"latency":"1"}}', 400, None),
        ("/proxies/x/toxics", '{"type":"latency","attributes":[]}', 400, None),
        ("/proxies/x/toxics", '{"type":"latency","toxicity":"1"}', 400, None),
        ("/proxies/x/toxics/none", "{}", 404, "toxic not found"),
        ("/proxies/none/toxics/t", "{}", 404, "proxy not found"),
        ("/proxies/x/toxics/t", "", 400, "bad request body: EOF"),
        ("/proxies/x/toxics/t", '{"attributes":{"latency":[]}}', 400, None),
    ],
)
def test_errors_of_bodies(api, path, body, status, message):
    create(api, name="x")
    assert api.call("POST", "/proxies/x/toxics", {"type": "latency", "name": "t"}).ok
    before = api.call("GET", "/proxies").text
    found = error(api.call("POST", path, body))
    assert found[0] == status
    assert message in (None, found[1])
    assert api.call("GET", "/proxies").text == before


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/proxies/none", "proxy not found"),
        ("DELETE", "/proxies/none", "proxy not found"),
        ("PATCH", "/proxies/none", "proxy not found"),
        ("GET", "/proxies/none/toxics", "proxy not found"),
        ("GET", "/proxies/none/toxics/t", "proxy not found"),
        ("DELETE", "/proxies/none/toxics/t", "proxy not found"),
        ("GET", "/proxies/x/toxics/none", "toxic not found"),
        ("DELETE", "/proxies/x/toxics/none", "toxic not found"),
    ],
)
def test_what_is_not_there(api, method, path, message):
    create(api, name="x")
    assert error(api.call(method, path, "{}")) == (404, message)


def test_errors_of_listening(api, peer):
    busy = f"listen tcp {peer.address}: bind: address already in use"
    assert error(create(api, name="y", listen=peer.address)) == (500, busy)
    missing = create(api, name="y", listen="127.0.0.1")
    assert error(missing) == (500, "listen tcp: address 127.0.0.1: missing port in address")
    invalid = create(api, name="y", listen="127.0.0.1:99999")
    assert error(invalid) == (500, "listen tcp: address 99999: invalid port")
    assert api.get("/proxies") == {}
    create(api, name="y")
    assert error(api.call("POST", "/proxies/y", {"listen": peer.address})) == (500, busy)
    left = api.get("/proxies/y")
    assert (left["listen"], left["enabled"]) == (peer.address, False)


@pytest.mark.parametrize("path", ["/nothing", "/proxies/", "/proxies/x/y/z/a", "/", "/version/"])
def test_unknown_paths(api, path):
    answer = api.raw("GET", path)
    assert (answer.status, answer.body) == (404, "404 page not found\n")
    assert answer.headers["content-type"] == TEXT
    assert "x-toxiproxy-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/proxies"), ("HEAD", "/version"), ("OPTIONS", "/reset"), ("GET", "/populate"),
     ("DELETE", "/proxies"), ("PUT", "/proxies/x"), ("POST", "/version"), ("HEAD", "/proxies")],
)  # fmt: skip
def test_wrong_methods(api, method, path):
    answer = api.raw(method, path)
    assert (answer.status, answer.body) == (405, "")
    assert not {"x-toxiproxy-request-id", "content-type", "allow"} & set(answer.headers)


@pytest.mark.parametrize(
    ("target", "location"),
    [("//proxies", "/proxies"), ("/a/../proxies", "/proxies"), ("/./version?a=b", "/version?a=b"),
     ("//proxies/", "/proxies/")],
)  # fmt: skip
def test_paths_are_cleaned(api, target, location):
    answer = api.raw("GET", target)
    assert (answer.status, answer.headers["location"], answer.body) == (301, location, "")


@pytest.mark.parametrize(
    ("agent", "status"),
    [("Mozilla/5.0", 403), ("Mozilla", 200), ("mozilla/5.0", 200), ("", 200), (None, 200)],
)
def test_browsers_are_kept_out(api, agent, status):
    headers = {} if agent is None else {"User_Agent": agent}
    answer = api.raw("GET", "/version", **headers)
    assert answer.status == status
    if status == 403:
        assert answer.body == "User agent not allowed\n"
        assert answer.headers["content-type"] == TEXT
    assert api.raw("GET", "/nothing", **headers).status == 404


def test_bodies_are_read_whatever_their_type(api):
    body = b'{"NAME":"f","Upstream":"u:1","listen":"127.0.0.1:0","more":1,"name":"g"}{"name":"h"}'
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    answer = api.raw("POST", "/proxies", body, **form)
    assert answer.status == 201
    assert list(api.get("/proxies")) == ["g"]
    assert api.raw("POST", "/reset", b"no json", **form).status == 204


def test_an_offer_to_upgrade_is_not_taken_up(api):
    """Java's client makes one with every request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAA"}
    assert api.raw("GET", "/version", **offer).status == 200
    body = b'{"name":"x","upstream":"u:1","listen":"127.0.0.1:0"}'
    assert api.raw("POST", "/proxies", body, **offer).status == 201


def test_listen_addresses(api):
    assert create(api, name="a", listen="localhost:0").json()["listen"].startswith("127.0.0.1:")
    assert re.fullmatch(r"\[::\]:\d+", create(api, name="b", listen=":0").json()["listen"])
    assert create(api, name="c", listen="").json()["listen"].startswith("[::]:")
    assert create(api, name="d", listen=None).json()["listen"].startswith("[::]:")
    off = create(api, name="e", listen="localhost:3310", enabled=False).json()
    assert (off["listen"], off["enabled"]) == ("localhost:3310", False)
    opaque = create(api, name="f", upstream="not a host").json()
    assert opaque["upstream"] == "not a host"


def test_names_with_any_characters(api):
    for name in ("a b", "100%", "ü?#", "<x>"):
        assert create(api, name=name).json()["name"] == name
        path = f"/proxies/{''.join(f'%{byte:02X}' for byte in name.encode())}"
        assert api.call("GET", path).json()["name"] == name
        assert api.call("DELETE", path).status_code == 204


def test_update_keeps_connections_unless_an_address_changes(api, pair, peer):
    client, server = pair()
    listen = api.get("/proxies/p")["listen"]
    same = {"listen": f"localhost:{port_of(listen)}", "name": "other", "toxics": []}
    for method in ("POST", "PATCH"):
        assert api.call(method, "/proxies/p", same).json()["listen"] == listen
    assert api.call("POST", "/proxies/p", {}).status_code == 200
    client.sendall(b"still")
    assert server.recv(10) == b"still"
    api.call("POST", "/proxies/p/toxics", {"type": "noop"})
    shown = api.call("POST", "/proxies/p", {"upstream": "127.0.0.1:1"}).json()
    assert (shown["upstream"], shown["listen"]) == ("127.0.0.1:1", listen)
    assert [toxic["name"] for toxic in shown["toxics"]] == ["noop_downstream"]
    assert client.recv(1) == b""


def test_idle_connections_are_kept_alive_by_the_kernel(api, pair):
    client, server = pair()
    legs = {(server.getpeername()[1], server.getsockname()[1])}
    legs.add((client.getpeername()[1], client.getsockname()[1]))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    timers = {
        (int(row[1].partition(":")[2], 16), int(row[2].partition(":")[2], 16)): row[5]
        for row in rows
    }
    for leg in legs:
        kind, _, jiffies = timers[leg].partition(":")
        # 2 is the timer of keep-alive.
        assert (kind, 10 < int(jiffies, 16) / os.sysconf("SC_CLK_TCK") <= 15.5) == ("02", True)


def test_disable_refuses_and_enable_takes_the_same_port(api, pair):
    client, server = pair()
    listen = api.get("/proxies/p")["listen"]
    api.call("POST", "/proxies/p", {"enabled": False})
    assert client.recv(1) == server.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(listen)))
    assert api.get("/proxies/p")["listen"] == listen
    api.call("POST", "/proxies/p/toxics", {"type": "noop"})
    assert api.call("POST", "/reset").status_code == 204
    assert (api.get("/proxies/p")["enabled"], api.get("/proxies/p")["toxics"]) == (True, [])
    client, server = pair()
    client.sendall(b"back")
    assert server.recv(10) == b"back"


def test_a_deleted_proxy_is_gone_at_once(api, pair):
    client, server = pair()
    listen = api.get("/proxies/p")["listen"]
    answer = api.call("DELETE", "/proxies/p")
    assert (answer.status_code, answer.content) == (204, b"")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(listen)))
    assert client.recv(1) == server.recv(1) == b""


def test_reset_keeps_connections(api, pair):
    client, server = pair()
    api.call("POST", "/proxies/p/toxics", {"type": "bandwidth", "attributes": {"rate": 0}})
    server.sendall(b"kept")
    assert api.call("POST", "/reset").status_code == 204
    assert client.recv(10) == b"kept"
    assert api.get("/proxies/p/toxics") == []


def populate(api, *entries):
    answer = api.call("POST", "/populate", list(entries))
    assert answer.headers["content-type"] == JSON
    assert not answer.text.endswith("\n")
    return answer


def test_populate(api, peer):
    assert populate(api).text == '{"proxies":null}'
    one = {"name": "a", "listen": "127.0.0.1:0", "upstream": "u:1"}
    unnamed = populate(api, one, {"upstream": "u:1"})
    assert unnamed.status_code == 400
    expected = '{"error":"missing required field: name at proxy 2","status":400,"proxies":null}'
    assert unnamed.text == expected
    lacking = populate(api, one, {"name": "b"}).json()
    assert lacking["error"] == "missing required field: upstream at proxy 2"
    assert api.call("POST", "/populate", {}).status_code == 400
    assert api.get("/proxies") == {}
    made = populate(api, one | {"toxics": []})
    assert made.status_code == 201
    (first,) = made.json()["proxies"]
    assert (first["name"], first["enabled"]) == ("a", True)
    off = populate(api, {"name": "z", "listen": "localhost:1", "upstream": "u", "enabled": False})
    assert off.json()["proxies"][0]["listen"] == "localhost:1"
    taken = populate(api, one | {"name": "b"}, one | {"name": "c", "listen": peer.address})
    assert taken.status_code == 500
    assert list(taken.json()) == ["error", "status", "proxies"]
    assert [proxy["name"] for proxy in taken.json()["proxies"]] == ["b"]
    assert sorted(api.get("/proxies")) == ["a", "b", "z"]


def test_populate_replaces_only_what_differs(api, peer):
    entry = {"name": "a", "listen": "127.0.0.1:0", "upstream": "u:1"}
    listen = populate(api, entry).json()["proxies"][0]["listen"]
    api.call("POST", "/proxies/a/toxics", {"type": "noop"})
    same = entry | {"listen": f"localhost:{port_of(listen)}", "enabled": False}
    (kept,) = populate(api, same).json()["proxies"]
    assert (kept["enabled"], len(kept["toxics"])) == (True, 1)
    other = same | {"upstream": "u:2", "listen": listen}
    (replaced,) = populate(api, other).json()["proxies"]
    assert (replaced["toxics"], replaced["enabled"]) == ([], False)
    bad = populate(api, entry | {"listen": "bad"})
    assert bad.status_code == 500
    assert bad.json()["error"] == "address bad: missing port in address"
    failed = populate(api, entry | {"listen": peer.address, "upstream": "u:3"})
    assert failed.status_code == 500
    left = api.get("/proxies/a")
    assert (left["upstream"], left["enabled"]) == ("u:2", False)
    double = populate(api, entry | {"name": "d"}, entry | {"name": "d", "upstream": "u:5"}).json()
    assert [(p["upstream"], p["enabled"]) for p in double["proxies"]] == [
        ("u:1", False), ("u:5", True),
    ]  # fmt: skip


def test_toxics_are_listed_upstream_first_and_updates_merge(api):
    create(api, name="x")
    for name, stream in (("a", "downstream"), ("b", "UPSTREAM"), ("c", None), ("d", "upstream")):
        body = {"type": "latency", "stream": stream, "name": name}
        api.call("POST", "/proxies/x/toxics", body)
    unnamed = api.call("POST", "/proxies/x/toxics", {"type": "noop", "stream": "Upstream"})
    assert unnamed.json()["name"] == "noop_Upstream"
    assert [toxic["name"] for toxic in api.get("/proxies/x/toxics")] == list("bd") + [
        "noop_Upstream", "a", "c",
    ]  # fmt: skip
    path = "/proxies/x/toxics/a"
    changed = api.call("PATCH", path, {"attributes": {"jitter": 3}, "toxicity": 0.5}).json()
    assert (changed["attributes"], changed["toxicity"]) == ({"latency": 0, "jitter": 3}, 0.5)
    ignored = {"name": "z", "type": "noop", "stream": "upstream", "attributes": None}
    assert api.call("POST", path, ignored).json() == changed
    assert api.call("POST", path, {"attributes": {"LATENCY": 9}}).json()["attributes"] == {
        "latency": 9, "jitter": 3,
    }  # fmt: skip


def test_metrics(api, pair):
    client, server = pair()
    client.sendall(b"four")
    assert server.recv(4) == b"four"
    server.close()
    assert client.recv(1) == b""
    shown = api.get("/proxies/p")
    labels = (
        f'{{direction="upstream",listener="{shown["listen"]}",proxy="p",'
        f'upstream="{shown["upstream"]}"}} 4'
    )

    def metrics() -> str:
        answer = api.raw("PUT", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4; charset=utf-8")
        return answer.body

    wanted = [f"toxiproxy_proxy_{what}_bytes_total{labels}" for what in ("received", "sent")]
    client.close()
    for line in wanted:
        wait_for_line(metrics, line)
    text = metrics()
    assert "# TYPE toxiproxy_proxy_received_bytes_total counter" in text
    assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE)


def wait_for_line(read, line: str) -> None:
    for _ in range(200):
        if line in read().splitlines():
            return
        socket.socket().close()
    raise AssertionError(f"{line} is not in\n{read()}")
