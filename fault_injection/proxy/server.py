"""A minimal HTTP/1.1 server for the control API: keep-alive, bounded bodies, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httptools

MAX_BODY = 4 * 1024 * 1024
HANDLER_TIMEOUT_S = 25.0
IDLE_TIMEOUT_S = 60.0
TIMEOUT_PAGE = b"<html><head><title>Timeout</title></head><body><h1>Timeout</h1></body></html>"
REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    301: "Moved Permanently",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Request Entity Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(slots=True)
class Request:
    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    keep_alive: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, keep_alive: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}"]
        if self.content_type is not None:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.status != 204:
            lines.append(f"Content-Length: {len(self.body)}")
        if not keep_alive:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


Handler = Callable[[Request], Awaitable[Response]]


class ControlConnection(asyncio.Protocol):
    """One client of the control API."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.parser = httptools.HttpRequestParser(self)
        self.requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self.request = Request()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def connection_lost(self, exc: Exception | None) -> None:
        self.requests.put_nowait(None)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.write(Response(400, b"400 Bad Request").encode(keep_alive=False))
            self.transport.close()

    def on_message_begin(self) -> None:
        self.request = Request()

    def on_url(self, url: bytes) -> None:
        self.request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.request.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if len(self.request.body) <= MAX_BODY:
            self.request.body += body

    def on_message_complete(self) -> None:
        self.request.method = self.parser.get_method().decode()
        self.request.keep_alive = self.parser.should_keep_alive()
        self.requests.put_nowait(self.request)

    async def _serve(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    request = await self.requests.get()
            except TimeoutError:
                request = None
            if request is None:
                self.transport.close()
                return
            response = await self._answer(request)
            self.transport.write(response.encode(keep_alive=request.keep_alive))
            if not request.keep_alive:
                self.transport.close()
                return

    async def _answer(self, request: Request) -> Response:
        if len(request.body) > MAX_BODY:
            return Response(413, b"request body too large\n", "text/plain; charset=utf-8")
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                return await self.handler(request)
        except TimeoutError:
            return Response(503, TIMEOUT_PAGE, "text/html; charset=utf-8")
