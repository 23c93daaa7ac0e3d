"""What ours has beyond Toxiproxy, through the same API."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.proxy.conftest import connect, start_proxy, stop_proxy, wait_until
from tests.proxy.sockets import BUSY_S, ends, read, took


def create(api, **fields):
    return api.call(
        "POST", "/proxies", {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"} | fields
    )


def refused(answer) -> str:
    assert answer.status_code == 400
    return answer.json()["error"]


LIMIT = {"type": "limit_data", "name": "cut", "attributes": {"bytes": 2}}


@pytest.mark.parametrize("path", ["/proxies", "/populate"])
def test_toxics_come_with_their_proxy(api, peer, path):
    body = {"name": "p", "listen": "127.0.0.1:0", "upstream": peer.address}
    twice = body | {"toxics": [LIMIT, LIMIT]}
    before = {"name": "before", "listen": "127.0.0.1:0", "upstream": "u:1"}
    answer = api.call("POST", path, [before, twice] if path == "/populate" else twice)
    assert answer.status_code == 409
    assert api.get("/proxies") == {}
    good = body | {"toxics": [LIMIT, {"type": "noop", "stream": "upstream"}]}
    assert api.call("POST", path, [good] if path == "/populate" else good).status_code == 201
    shown = api.get("/proxies/p")
    assert [toxic["name"] for toxic in shown["toxics"]] == ["noop_upstream", "cut"]
    client = connect(shown["listen"])
    peer.accept().sendall(b"xyz")
    assert read(client, 2) == b"xy"
    assert ends(client)
    client.close()


def test_one_toxic_for_both_streams(pair, add, api):
    assert add("latency", stream="both", latency=100).endswith("latency_both")
    client, server = pair()
    start = time.monotonic()
    client.sendall(b"to")
    assert server.recv(2) == b"to"
    server.sendall(b"fro")
    assert client.recv(3) == b"fro"
    assert 0.199 <= time.monotonic() - start < 0.2 + BUSY_S
    assert api.call("DELETE", "/proxies/p/toxics/latency_both").status_code == 204
    elapsed, data = took(lambda: (client.sendall(b"x"), server.recv(1)))
    assert elapsed < 0.09


@pytest.mark.parametrize(
    ("attributes", "bitten"),
    [
        ({"connections": 2}, [1, 2]),
        ({"every": 3}, [3, 6]),
        ({"every": 2, "connections": 4}, [2, 4]),
        ({"connections": 0, "every": 0}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_first_connections_and_every_so_many(pair, add, api, attributes, bitten):
    before, before_server = pair()
    path = add("limit_data", bytes=0, **attributes)
    assert attributes.items() <= api.get(path)["attributes"].items()
    found = []
    for number in range(1, 7):
        client, server = pair()
        server.sendall(b"x")
        if client.recv(1) == b"":
            found.append(number)
    assert found == bitten
    if any(attributes.values()):
        # Connections from before are not counted.
        before_server.sendall(b"x")
        assert before.recv(1) == b"x"
    assert "too small" in refused(api.call("POST", path, {"attributes": {"every": -1}}))


def test_the_seed_of_the_process_decides(peer):
    def passing(seed: int) -> list[bool]:
        running = start_proxy("-port", "0", "-seed", str(seed))
        try:
            toxic = {"type": "limit_data", "toxicity": 0.5}
            listen = create(running, name="p", upstream=peer.address, toxics=[toxic]).json()
            found = []
            for _ in range(12):
                with connect(listen["listen"]) as client:
                    peer.accept().sendall(b"x")
                    found.append(client.recv(1) == b"x")
            return found
        finally:
            stop_proxy(running)

    assert passing(1) == passing(1) != passing(2)


def test_two_toxics_do_not_throw_the_same_dice(pair, api):
    for limit in (1, 0):
        body = {"type": "limit_data", "name": f"cut-{limit}", "attributes": {"bytes": limit}}
        half = {"toxicity": 0.5, "stream": "upstream"}
        assert api.call("POST", "/proxies/p/toxics", body | half).status_code == 200
    outcomes = set()
    for _ in range(24):
        client, server = pair()
        client.sendall(b"xy")
        outcomes.add(len(read_until_end(server)))
    assert outcomes == {0, 1, 2}


def read_until_end(sock: socket.socket) -> bytes:
    """What comes until the end, or until nothing more comes."""
    sock.settimeout(0.05)
    data = b""
    try:
        while part := sock.recv(10):
            data += part
    except TimeoutError:
        return data
    return data


def test_counters_connections_and_events_are_live(api, pair):
    client, server = pair()
    client.sendall(b"four")
    assert read(server, 4) == b"four"
    server.sendall(b"sixsix")
    assert read(client, 6) == b"sixsix"

    def counters() -> dict:
        return api.get("/counters")["proxies"]["p"]

    moved = {"upstream": 4, "downstream": 6}
    expected = {"accepted": 1, "open": 1, "refused": 0}
    assert counters() == expected | {"received_bytes": moved, "sent_bytes": moved}
    (live,) = api.get("/connections")["connections"]
    expected_bytes = {"bytes_up": 4, "bytes_down": 6, "sent_up": 4, "sent_down": 6}
    assert expected_bytes.items() <= live.items()
    assert 'direction="downstream"' in api.raw("GET", "/metrics").body
    port = client.getsockname()[1]
    (opened,) = [e for e in api.events("p") if e["client_port"] == port]
    assert (opened["action"], bool(opened["upstream_port"])) == ("opened", True)
    client.close()
    wait_until(lambda: counters()["open"] == 0)
    assert counters() == expected | {"open": 0, "received_bytes": moved, "sent_bytes": moved}
    page = api.get(f"/events?after={opened['seq']}")
    assert [event["action"] for event in page["events"]] == ["closed"]
    assert api.call("GET", "/events?after=x").status_code == 400


def test_a_refused_upstream_ends_the_client_at_once(api, peer):
    peer.close()
    listen = create(api, name="gone", upstream=peer.address).json()["listen"]
    for first in (b"", b"already sent"):
        with connect(listen) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(first)
            elapsed, ended = took(lambda sock=client: ends(sock))
            assert (ended, elapsed < BUSY_S) == (True, True)
    assert [event["action"] for event in api.events("gone")][0] == "refused"
    assert api.get("/counters")["proxies"]["gone"]["refused"] == 2


def test_names_with_slashes_are_found_again(api):
    create(api, name="a/b")
    assert api.raw("GET", "/proxies/a%2Fb").status == 200
    assert api.raw("POST", "/proxies/a%2Fb/toxics", b'{"type":"noop","name":"../t"}').status == 200
    assert api.raw("DELETE", "/proxies/a%2Fb/toxics/..%2Ft").status == 204
    assert api.raw("DELETE", "/proxies/a%2Fb").status == 204


def test_a_body_that_is_refused_changes_nothing(api, pair):
    client, server = pair()
    before = api.get("/proxies/p")
    assert "unknown protocol" in refused(api.call("POST", "/proxies/p", {"protocol": "smtp"}))
    bad = {"listen": "bad", "protocol": "redis"}
    assert api.call("POST", "/proxies/p", bad).status_code == 500
    assert api.get("/proxies/p") == before
    path = "/proxies/p/toxics/latency_downstream"
    api.call("POST", "/proxies/p/toxics", {"type": "latency"})
    half = {"attributes": {"latency": 77, "jitter": "x"}, "toxicity": 0}
    assert api.call("POST", path, half).status_code == 400
    assert api.get(path)["attributes"] == {"latency": 0, "jitter": 0}
    assert api.call("POST", path, {"attributes": {"latency": 3.0}}).json()["attributes"] == {
        "latency": 3, "jitter": 0,
    }  # fmt: skip
    client.sendall(b"still")
    assert server.recv(10) == b"still"


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
    assert fragment in refused(answer)
    assert api.get("/proxies/x/toxics") == []
    upstream = {"type": "drop_reply", "stream": "upstream"}
    assert api.call("POST", "/proxies/x/toxics", upstream).status_code == 400


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "fault_injection.proxy"]
    shown = subprocess.run([*command, "-version"], capture_output=True, text=True, check=True)
    assert shown.stdout == "toxiproxy-server version 2.12.0\n"
    config = tmp_path / "proxies.json"
    entry = {"name": "c", "listen": "127.0.0.1:0", "upstream": "u:1", "toxics": [LIMIT]}
    config.write_text(json.dumps([entry]))
    running = start_proxy("--port", "0", "-config", str(config))
    try:
        assert [toxic["name"] for toxic in running.get("/proxies/c/toxics")] == ["cut"]
        assert running.raw("GET", "/metrics").status == 404
        running.process.send_signal(2)
        assert running.process.wait(5) == 0
    finally:
        running.process.kill()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-host", "127.0.0.1", "-port", "{busy}"], "address already in use"),
        (["-host", "127.0.0.1", "-port", "99999"], "invalid port"),
        (["-host", "nowhere.invalid"], "no such host"),
    ],
)
def test_an_address_that_cannot_be_had_ends_it(peer, arguments, reason):
    argv = [text.format(busy=peer.address.rpartition(":")[2]) for text in arguments]
    command = [sys.executable, "-m", "fault_injection.proxy", *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (1, "")
    assert reason in json.loads(done.stdout)["error"]


def test_localhost_is_one_address(tmp_path):
    command = [sys.executable, "-m", "fault_injection.proxy", "-host=localhost", "-port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = json.loads(process.stdout.readline())
    process.terminate()
    assert (line["host"], process.wait(5)) == ("127.0.0.1", 0)


class Authority:
    """A certificate authority of one test run, and a certificate for 127.0.0.1."""

    def __init__(self, folder) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("peer"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        self.certificate, self.key = folder / "peer.pem", folder / "peer.key"
        self.certificate.write_bytes(certificate.public_bytes(pem))
        plain = serialization.NoEncryption()
        self.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))

    @property
    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    @property
    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def test_tls_on_the_listening_leg(api, peer, authority):
    given = {"certificate": str(authority.certificate), "key": str(authority.key)}
    shown = create(api, name="p", upstream=peer.address, listen_tls=given).json()
    assert shown["listen_tls"] == given
    api.call("POST", "/proxies/p/toxics", LIMIT)
    with authority.client.wrap_socket(connect(shown["listen"]), server_hostname="peer") as client:
        server = peer.accept()
        client.sendall(b"hello")
        assert server.recv(10) == b"hello"
        server.sendall(b"xyz")
        assert client.recv(10) == b"xy"
        assert client.recv(10) == b""
    with connect(shown["listen"]) as plain:
        plain.sendall(b"no handshake at all")
        assert ends(plain)
    wait_until(lambda: api.get("/counters")["proxies"]["p"]["open"] == 0)
    off = api.call("POST", "/proxies/p", {"listen_tls": {}}).json()
    assert "listen_tls" not in off
    with connect(off["listen"]) as plain:
        plain.sendall(b"plain")
        assert peer.accept().recv(10) == b"plain"


def test_a_handshake_that_outlasts_its_proxy_leads_nowhere(api, peer, authority):
    given = {"certificate": str(authority.certificate), "key": str(authority.key)}
    listen = create(api, name="p", upstream=peer.address, listen_tls=given).json()["listen"]
    client = connect(listen)
    wait_until(lambda: api.get("/counters")["proxies"]["p"]["accepted"] == 1)
    for enabled in (False, True):
        assert api.call("POST", "/proxies/p", {"enabled": enabled}).status_code == 200
    try:
        with authority.client.wrap_socket(client, server_hostname="peer") as secure:
            assert ends(secure)
    except (ConnectionError, ssl.SSLError):
        client.close()
    assert api.get("/connections")["connections"] == []
    peer.listener.settimeout(0.1)
    with pytest.raises(TimeoutError):
        peer.accept()


@pytest.mark.parametrize(
    ("tls", "works"),
    [
        ({"verify": "none"}, True),
        ({"verify": "chain", "ca": "ours"}, True),
        ({"verify": "full", "ca": "ours"}, True),
        ({"verify": "full", "ca": "ours", "server_name": "peer"}, True),
        ({"verify": "full", "ca": "ours", "server_name": "other"}, False),
        ({"verify": "chain"}, False),
    ],
)
def test_tls_on_the_upstream_leg(api, peer, authority, tls, works):
    ca = {"ca": str(authority.certificate)} if "ca" in tls else {}
    made = create(api, name="p", upstream=peer.address, upstream_tls=tls | ca).json()
    assert made["upstream_tls"] == tls | ca
    with connect(made["listen"]) as client:
        accepted = peer.accept()
        try:
            server = authority.server.wrap_socket(accepted, server_side=True)
        except (ssl.SSLError, ConnectionError):
            assert not works
        if works:
            with server:
                client.sendall(b"hello")
                assert server.recv(10) == b"hello"
                server.sendall(b"back")
                assert client.recv(10) == b"back"
        else:
            assert ends(client)
            event = api.events("p")[0]
            assert (event["action"], "CERTIFICATE" in event["reason"].upper()) == ("refused", True)


@pytest.mark.parametrize(
    ("field", "given", "fragment"),
    [
        ("listen_tls", [], "must be an object"),
        ("listen_tls", {"key": "k"}, "missing required field: listen_tls.certificate"),
        ("listen_tls", {"certificate": "/nowhere"}, "cannot be used"),
        ("listen_tls", {"cert": "x"}, "unknown key of listen_tls: cert"),
        ("upstream_tls", {"verify": "maybe"}, "full, chain, none"),
        ("upstream_tls", {"verify": "none", "ca": "/nowhere"}, "cannot be used"),
        ("upstream_tls", {"verify": 3}, "must be a string"),
    ],
)
def test_tls_settings_are_validated(api, field, given, fragment):
    assert fragment in refused(create(api, name="p", **{field: given}))
    assert api.get("/proxies") == {}
