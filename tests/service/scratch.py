"""A database of a test's own in the stack's PostgreSQL, and processes of the service on it."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import urllib3
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.stacks.ports import free_port

SOURCE = Path(__file__).parents[2] / "system_under_test"


def wait_for(condition: Callable[[], object], *, seconds: float = 20) -> float:
    """How long it took until the condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - started


@dataclass
class Scratch:
    """A database, the environment of the service's processes on it, and that of its owner."""

    dsn: str
    environment: Mapping[str, str]
    as_owner: Mapping[str, str]
    folder: Path

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn, autocommit=True)

    def run(
        self, *arguments: str, owner: bool = True, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the service to its end."""
        return subprocess.run(
            [sys.executable, "-m", "investment", *arguments],
            env=(self.as_owner if owner else self.environment) | settings,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    @contextlib.contextmanager
    def start(self, *arguments: str, **settings: str) -> Iterator[int]:
        """Keep a process of the service running, a group of its own; its command names its log."""
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "investment", *arguments],
                env=self.environment | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def answer(url: str) -> int:
    """The status of a page, or 0 when nobody answers."""
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", url, retries=False, timeout=5).status
    return 0


@dataclass
class Receiver:
    """Takes spans by OTLP/HTTP, as any collector does; it can be made to hang."""

    spans: list[tuple[str, Span]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def take(self, content: bytes) -> None:
        self.raw.append(content)
        for of in ExportTraceServiceRequest.FromString(content).resource_spans:
            names = [
                a.value.string_value for a in of.resource.attributes if a.key == "service.name"
            ]
            self.spans += [(names[0], span) for part in of.scope_spans for span in part.spans]

    def of_trace(self, trace: str) -> list[tuple[str, Span]]:
        return [(name, span) for name, span in self.spans if span.trace_id.hex() == trace]


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    found = Receiver()
    found.goes_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            found.goes_on.wait(30)
            if self.path == "/v1/traces":
                found.take(content)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Requests are in `raw`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.goes_on.set()
        server.shutdown()
        server.server_close()


@dataclass
class Beside:
    """A whole service beside the stack's, on a database of its own, through the same proxies."""

    scratch: Scratch
    service: object
    url: str
    groups: Mapping[str, int]
    received: Receiver

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A process that hangs: it and its children are stopped, and go on afterwards."""
        os.killpg(self.groups[name], signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.groups[name], signal.SIGCONT)


@contextlib.contextmanager
def service_beside(stack, connect, folder: Path) -> Iterator[Beside]:  # noqa: ANN001
    """Its API is api-1's neighbour, its worker the worker's: what breaks their links breaks its."""
    with (
        receiver() as received,
        scratch_database(stack, folder) as scratch,
        contextlib.ExitStack() as running,
    ):
        prepared = scratch.run("prepare")
        assert prepared.returncode == 0, prepared.stderr
        links = stack.stack.proxies.listening()

        def start(name: str, *arguments: str, link: str) -> int:
            database = urlsplit(scratch.environment["INVESTMENT_DATABASE_URL"])
            role = database.netloc.rpartition("@")[0]
            through = database._replace(netloc=f"{role}@{links[f'{link}-postgres']}")
            redis = links.get(f"{link}-redis", links["worker-redis"])
            settings = {
                "INVESTMENT_PROCESS_NAME": f"{name}-beside",
                "INVESTMENT_DATABASE_URL": through.geturl(),
                "INVESTMENT_REDIS_URL": f"redis://{redis}/6",
                "INVESTMENT_PARTNER_URL": f"http://{links['worker-partner']}",
                "INVESTMENT_WORKER_CHILDREN": "2",
                "INVESTMENT_PARTNER_CONNECT_TIMEOUT_MS": "300",
                "INVESTMENT_PARTNER_READ_TIMEOUT_MS": "1000",
                "INVESTMENT_JOB_LEASE_MS": "1500",
                "INVESTMENT_REDISPATCH_AFTER_MS": "1000",
                "INVESTMENT_OTLP_ENDPOINT": received.url,
            }
            return running.enter_context(scratch.start(name, *arguments, **settings))

        port = free_port()
        groups = {"api": start("api", "--port", str(port), link="api-1")}
        groups |= {name: start(name, link=name) for name in ("worker", "relay", "sweeper")}
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answer(f"{url}/readyz") == 200)
        service = connect([url], scratch.environment["INVESTMENT_ADMIN_TOKEN"])
        yield Beside(scratch, service, url, groups, received)


@contextlib.contextmanager
def scratch_database(stack, folder: Path) -> Iterator[Scratch]:  # noqa: ANN001
    """An empty database that is gone afterwards."""
    name = f"scratch_{secrets.token_hex(4)}"
    of = conninfo_to_dict(stack.postgres_dsn)

    def url_of(role: object) -> str:
        address = f"{of['host']}:{of['port']}/{name}"
        return f"postgresql+psycopg://{role}:{of['password']}@{address}"

    environment = os.environ | dict(stack.stack.settings) | dict(stack.stack.secrets) | {
        "PYTHONPATH": str(SOURCE),
        "INVESTMENT_DATABASE_URL": url_of("investment_app"),
        "INVESTMENT_REDIS_URL": f"redis://{stack.stack.proxies.listening()['worker-redis']}/6",
        "INVESTMENT_PARTNER_URL": stack.partner_url,
        "INVESTMENT_ADMIN_TOKEN": stack.admin_token,
    }  # fmt: skip
    as_owner = environment | {
        "INVESTMENT_DATABASE_URL": url_of(of["user"]),
        "INVESTMENT_APP_PASSWORD": str(of["password"]),
        "INVESTMENT_INITIAL_FLAGS": "on",
    }

    def on_server(statement: str) -> None:
        # A connection each: a test may restart the server meanwhile.
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as server:
            server.execute(statement)

    on_server(f"CREATE DATABASE {name}")
    try:
        dsn = make_conninfo(stack.postgres_dsn, dbname=name)
        yield Scratch(dsn, environment, as_owner, folder)
    finally:
        on_server(f"DROP DATABASE {name} WITH (FORCE)")
