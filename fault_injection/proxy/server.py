"""A minimal HTTP/1.1 server for the control API: everything bounded, answers in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import httptools

MAX_BODY = 4 * 1024 * 1024
MAX_HEAD = 1024 * 1024
MAX_HEADERS = 200
MAX_PIPELINED = 16
HANDLER_TIMEOUT_S = 25.0
READ_TIMEOUT_S = 15.0
WRITE_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 60.0
TIMEOUT_PAGE = b"<html><head><title>Timeout</title></head><body><h1>Timeout</h1></body></html>"
TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Request:
    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    keep_alive: bool = True
    # Set when the request was refused while it was read.
    refused: Response | None = None


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, keep_alive: bool, head: bool = False) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        if self.content_type is not None:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.status != 204:
            lines.append(f"Content-Length: {len(self.body)}")
        if not keep_alive:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else self.body)


BAD_REQUEST = Response(400, b"400 Bad Request", TEXT)
HEAD_TOO_LARGE = Response(431, b"431 Request Header Fields Too Large", TEXT)
BODY_TOO_LARGE = Response(413, b"request body too large\n", TEXT)
UNAVAILABLE = Response(503, TIMEOUT_PAGE, "text/html; charset=utf-8")

Handler = Callable[[Request], Awaitable[Response]]


class ControlConnection(asyncio.Protocol):
    """One client of the control API."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.parser = httptools.HttpRequestParser(self)
        self.requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self.request = Request()
        self.head_size = 0
        self.in_head = self.reading = self.deaf = self.lost = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._hang_up()
        self.writable.set()

    def eof_received(self) -> bool:
        """A client may close its side first and still read the answers."""
        self._hang_up()
        return True

    def _hang_up(self) -> None:
        self.deaf = True
        self.requests.put_nowait(None)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        while data and not self.deaf:
            self.reading = True
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError:
                self._refuse(BAD_REQUEST)
            # Counted here: the parser tells of a header only once it is whole.
            self.head_size = self.head_size + len(data) if self.in_head else 0
            if self.head_size > MAX_HEAD:
                self._refuse(HEAD_TOO_LARGE)
            return

    def _without_upgrade(self) -> bytes:
        """The head to parse instead: an offer to upgrade, as clients in Java make, is declined."""
        method, request = self.parser.get_method().decode(), self.request
        if method == "CONNECT":
            self._refuse(BAD_REQUEST)
            return b""
        kept = [f"{method} {request.target} HTTP/{self.parser.get_http_version()}"]
        kept += [
            f"{name}: {value}"
            for name, value in request.headers.items()
            if name not in ("upgrade", "connection", "expect")
        ]
        return "\r\n".join([*kept, "", ""]).encode("latin-1")

    def _refuse(self, response: Response) -> None:
        """Answers after those before it, and reads no further."""
        if not self.deaf:
            self.requests.put_nowait(Request(keep_alive=False, refused=response))
            self._hang_up()

    def on_message_begin(self) -> None:
        self.request = Request()
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        self.request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        if len(self.request.headers) > MAX_HEADERS:
            self._refuse(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.request.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if len(self.request.body) <= MAX_BODY:
            self.request.body += body

    def on_message_complete(self) -> None:
        if self.deaf or self.parser.should_upgrade():
            return
        request = self.request
        request.method = self.parser.get_method().decode()
        request.keep_alive = self.parser.should_keep_alive()
        if len(request.body) > MAX_BODY:
            request.refused = BODY_TOO_LARGE
        self.reading = False
        self.requests.put_nowait(request)
        if self.requests.qsize() > MAX_PIPELINED:
            self.transport.pause_reading()

    async def _next(self) -> Request | None:
        """The next request; None once the client is gone, slow or idle for too long."""
        idle_s = 0.0
        while True:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    return await self.requests.get()
            except TimeoutError:
                idle_s += READ_TIMEOUT_S
                if self.reading or idle_s >= IDLE_TIMEOUT_S:
                    return None

    async def _serve(self) -> None:
        try:
            while (request := await self._next()) is not None:
                if self.requests.empty() and not self.deaf:
                    self.transport.resume_reading()
                response = request.refused or await self._answer(request)
                if self.lost:
                    return
                head = request.method == "HEAD"
                self.transport.write(response.encode(keep_alive=request.keep_alive, head=head))
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await self.writable.wait()
                if not request.keep_alive:
                    return
        except TimeoutError:
            self.transport.abort()
        finally:
            self.transport.close()

    async def _answer(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                return await self.handler(request)
        except TimeoutError:
            return UNAVAILABLE
