"""A tiny wallet service over real sockets: idempotent writes, jobs, and trouble on demand."""

import json
import socket
import struct
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_LINGER_RESET = struct.pack("ii", 1, 0)


class TinyService:
    """Two entries over one state. `trouble[route]` is a list of what befalls the next requests:
    `reset` (after the effect), `refuse` (503, before it), `hang` (until `release`), `cut` (half a
    reply) or `close` (a full reply, then the kept connection dies)."""

    def __init__(
        self, *, polls_until_done: int = 2, pays_twice: bool = False, forgets: bool = False
    ) -> None:
        self.polls_until_done = polls_until_done
        self.pays_twice = pays_twice
        self.forgets = forgets
        self.lock = threading.Lock()
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.payloads: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.balances: dict[str, int] = defaultdict(int)
        self.jobs: dict[str, int] = {}
        self.investments: dict[str, dict[str, str]] = {}
        self.trouble: dict[str, list[str]] = defaultdict(list)
        self.requests: list[tuple[str, str, str]] = []
        self.applied: dict[str, int] = defaultdict(int)
        self.release = threading.Event()
        self.servers = [_Server(self), _Server(self)]

    def __enter__(self) -> "TinyService":
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    @property
    def entries(self) -> dict[str, str]:
        names = ("one", "two")
        pairs = zip(names, self.servers, strict=True)
        return {name: f"http://127.0.0.1:{server.server_port}" for name, server in pairs}

    def write(self, route: str, parts: list[str], key: str, content: dict[str, str]):
        """The stored answer of a caller's key, or what the write does now."""
        # What a caller is: the owner of its token; an administrator has none here.
        key = f"{content.get('owner', '')}-{route}-{key}"
        with self.lock:
            if key in self.answers and not self.forgets:
                if self.payloads[key] != content:
                    return 422, {"code": "key-reused", "retryable": False}, False
                return *self.answers[key], True
            self.applied[key] += 1
            self.payloads[key] = content
            answer = self.answers[key] = self._apply(route, parts, key, content)
            return *answer, False

    def _apply(self, route: str, parts: list[str], key: str, content: dict[str, str]):
        if route == "users":
            self.tokens[content["token"]] = content["user_id"]
            return 201, {"user_id": content["user_id"]}
        if route == "deposits":
            self.balances[parts[1]] += int(content["amount_minor"])
            self.jobs[f"job-{key}"] = 0
            return 202, {"job_id": f"job-{key}"}
        if route == "investments":
            number = f"inv-{key}"
            self.investments[number] = {"state": "PENDING", **content, "investment_id": number}
            return 201, {"investment_id": number}
        investment = self.investments[parts[1]]
        if route == "cancel":
            if investment["state"] != "PENDING":
                return 409, {"code": "not-cancellable", "retryable": False}
            investment["state"] = "CANCELLED"
            return 200, investment
        return self._execute(investment, key, owner=content.get("owner", ""))

    def _execute(self, investment: dict[str, str], key: str, *, owner: str):
        if investment["state"] != "PENDING" and not self.pays_twice:
            return 409, {"retryable": False, "job_id": investment.get("job", "")}
        amount_minor = int(investment["amount_minor"])
        if self.balances[owner] < amount_minor:
            return 422, {"code": "insufficient-funds", "retryable": False}
        self.balances[owner] -= amount_minor
        investment |= {"state": "EXECUTED", "job": f"job-{key}"}
        self.jobs[f"job-{key}"] = 0
        return 202, {"job_id": f"job-{key}"}

    def read(self, parts: list[str]) -> tuple[int, dict[str, str]]:
        with self.lock:
            kind, name = parts
            if kind == "wallets":
                return 200, {"balance_minor": str(self.balances[name])}
            if kind == "investments":
                return 200, self.investments[name]
            if name not in self.jobs:
                return 404, {"code": "not-found"}
            self.jobs[name] += 1
            done = self.jobs[name] > self.polls_until_done
            return 200, {"job_id": name, "state": "DONE" if done else "RUNNING"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, service: TinyService) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._handle(self.path.strip("/").split("/"))

    def do_POST(self) -> None:
        self._handle(self.path.strip("/").split("/"))

    def _handle(self, parts: list[str]) -> None:
        service, route = self.server.service, parts[0] if self.command == "GET" else parts[-1]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers.get("Idempotency-Key", "")
        with service.lock:
            service.requests.append((route, self.headers.get("X-Operation", ""), key))
            trouble = service.trouble[route].pop(0) if service.trouble[route] else ""
        if trouble == "refuse":
            self._answer(503, {"code": "unavailable", "retryable": True})
            return
        if trouble == "hang":
            service.release.wait(30)
            self.close_connection = True
            return
        replayed = False
        if self.command == "GET":
            status, content = service.read(parts)
        else:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            given = json.loads(body) | {"owner": service.tokens.get(token, "")}
            if route == "users":
                given.pop("owner")
            status, content, replayed = service.write(route, parts, key, given)
        if trouble == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self.close_connection = True
            return
        self._answer(status, content, replayed=replayed, cut=trouble == "cut")
        self.close_connection = self.close_connection or trouble in ("cut", "close")

    def _answer(
        self, status: int, content: dict[str, str], *, replayed: bool = False, cut: bool = False
    ) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", self.path)
        if replayed:
            self.send_header("Idempotent-Replayed", "true")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
