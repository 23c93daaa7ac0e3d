"""HTTP/1.1: one unit per request, with keep-alive, pipelining, chunks and interim replies."""

from __future__ import annotations

import re
from typing import Final

from fault_injection.proxy import clock
from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.fit import errors
from fault_injection.proxy.protocols.base import HEAD_LIMIT, Context, Decoder, Refusal, Unit
from fault_injection.proxy.protocols.text import find_marker, find_trace, http_target

_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding)[ \t]*:([^\r\n]*)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection[ \t]*:[ \t]*close[ \t]*(?=\r\n|$)", re.IGNORECASE)
MAX_HEAD = 64 * 1024
MAX_CHUNK_LINE = 4096
METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"))


class Message:
    """Follows one direction: a head, then a body by length, by chunks, or until the end."""

    HEAD, LENGTH, CHUNK_LINE, CHUNK, TRAILERS, UNTIL_END = range(6)
    __slots__ = ("buffer", "left", "state")

    def __init__(self) -> None:
        self.state = self.HEAD
        self.buffer = bytearray()
        self.left = 0

    def read_head(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """The head if the chunk completes it, and the offset after what was taken."""
        if not self.buffer:
            # Empty lines before a message are allowed.
            while at < len(data) and data[at] in b"\r\n":
                at += 1
            end = data.find(b"\r\n\r\n", at)
            if end >= 0:
                return data[at:end], end + 4
        have = len(self.buffer)
        self.buffer += data[at:]
        end = self.buffer.find(b"\r\n\r\n", max(0, have - 3))
        if end < 0:
            if len(self.buffer) > MAX_HEAD:
                raise Undecodable(f"a head of more than {MAX_HEAD} bytes")
            return None, len(data)
        head = bytes(self.buffer[:end])
        self.buffer.clear()
        return head, at + end + 4 - have

    def expect(self, headers: dict[bytes, bytes], *, until_end: bool) -> bool:
        """Prepares for the body that the headers announce; False when there is none."""
        if headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked"):
            self.state = self.CHUNK_LINE
            return True
        length = headers.get(b"content-length")
        if length is not None:
            if not length.isdigit():
                raise Undecodable(f"content-length {length[:32]!r}")
            self.left = int(length)
            self.state = self.LENGTH if self.left else self.HEAD
            return self.left > 0
        self.state = self.UNTIL_END if until_end else self.HEAD
        return until_end

    def read_body(self, data: bytes, at: int) -> tuple[bool, int]:
        """Whether the body is complete, and the offset after what was taken of it."""
        while at < len(data):
            if self.state == self.UNTIL_END:
                return False, len(data)
            if self.state in (self.LENGTH, self.CHUNK):
                taken = min(self.left, len(data) - at)
                self.left -= taken
                at += taken
                if self.left:
                    return False, at
                if self.state == self.LENGTH:
                    self.state = self.HEAD
                    return True, at
                self.state = self.CHUNK_LINE
                continue
            line, at = self._line(data, at)
            if line is None:
                return False, at
            if self.state == self.TRAILERS:
                if not line:
                    self.state = self.HEAD
                    return True, at
            else:
                self._chunk(line)
        return False, at

    def _line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        end = data.find(b"\n", at) + 1
        self.buffer += data[at : end or len(data)]
        if len(self.buffer) > MAX_CHUNK_LINE:
            raise Undecodable(f"a chunk line of more than {MAX_CHUNK_LINE} bytes")
        if not end:
            return None, len(data)
        line = bytes(self.buffer).rstrip(b"\r\n")
        self.buffer.clear()
        return line, end

    def _chunk(self, line: bytes) -> None:
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError as error:
            raise Undecodable(f"not a chunk size: {line[:32]!r}") from error
        if size < 0:
            raise Undecodable(f"not a chunk size: {line[:32]!r}")
        # The line break behind a chunk's data counts as data.
        self.left = size + 2
        self.state = self.CHUNK if size else self.TRAILERS


class HttpDecoder(Decoder):
    """Decodes one HTTP/1.1 connection."""

    protocol = "http"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.client = Message()
        self.server = Message()
        self.current: Unit | None = None
        self.expects = False
        self.body = bytearray()
        self.answering: Unit | None = None

    @property
    def within_request(self) -> bool:
        return self.current is not None or bool(self.client.buffer)

    @property
    def awaits(self) -> bool:
        return self.current is not None and self.expects

    def refusal(self, unit: Unit, error: str) -> Refusal:
        entry = errors("http")[error]
        body = entry["body"].encode()
        lines = [
            f"HTTP/1.1 {entry['status']}",
            f"Content-Type: {entry['type']}",
            f"Content-Length: {len(body)}",
            *([entry["headers"]] if "headers" in entry else []),
        ]
        head = "\r\n".join([*lines, "", ""]).encode()
        return Refusal(head if unit.kind == "HEAD" else head + body)

    def kept_open(self, data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        return _CLOSE.sub(b"\r\nConnection: keep-alive", head) + end + body

    def requests(self, data: bytes) -> list[tuple[Unit, int]]:
        at, done = 0, []
        while at < len(data):
            if self.current is None:
                head, at = self.client.read_head(data, at)
                if head is None:
                    break
                self.current = self._request(head)
                self.expects = b"100-continue" in head.lower()
                complete = not self.client.expect(_headers(head), until_end=False)
            else:
                start = at
                complete, at = self.client.read_body(data, at)
                if self.context.markers and len(self.body) < HEAD_LIMIT:
                    self.body += data[start : min(at, start + HEAD_LIMIT - len(self.body))]
            if complete:
                if self.body and self.current.trace is None:
                    self._mark(self.current, bytes(self.body))
                self.body.clear()
                self.current.requested = True
                done.append((self.current, at))
                self.current = None
        return done

    def _request(self, head: bytes) -> Unit:
        parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or parts[0] not in METHODS:
            raise Undecodable(f"not an HTTP/1.1 request: {head[:32]!r}")
        unit = self.open_unit()
        unit.kind = parts[0]
        unit.fingerprint = f"{parts[0]} {http_target(parts[1])}"
        trace = find_trace(head.lower())
        if trace is not None:
            unit.belongs_to(trace, "text")
        elif self.context.markers:
            self._mark(unit, head)
        return unit

    def _mark(self, unit: Unit, text: bytes) -> None:
        trace = find_marker(text, self.context.markers)
        if trace is not None:
            unit.belongs_to(trace, "marker")

    def replies(self, data: bytes) -> list[tuple[Unit, int]]:
        at, done = 0, []
        while at < len(data):
            if self.answering is None:
                head, at = self.server.read_head(data, at)
                if head is None:
                    break
                complete = self._response(head)
            else:
                complete, at = self.server.read_body(data, at)
            if complete:
                done.append((self._complete(), at))
        return done

    def _response(self, head: bytes) -> bool:
        """Whether the head alone is the whole reply."""
        parts = head.partition(b"\r\n")[0].split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
            raise Undecodable(f"not an HTTP/1.1 reply: {head[:32]!r}")
        status = int(parts[1])
        if status == 101:
            raise Undecodable("the connection was upgraded")
        if 100 <= status < 200:
            return False
        if self.head is None:
            raise Undecodable("a reply without a request")
        self.answering = self.head
        self.answering.status = status
        if self.answering.kind == "HEAD" or status in (204, 304):
            return True
        return not self.server.expect(_headers(head), until_end=True)

    def _complete(self) -> Unit:
        unit = self.pending.popleft()
        self.answering = None
        unit.reply_ns = clock.monotonic_ns()
        return unit

    def upstream_ended(self) -> list[Unit]:
        if self.answering is not None and self.server.state == Message.UNTIL_END:
            return [self._complete()]
        return []


def _headers(head: bytes) -> dict[bytes, bytes]:
    """The headers that frame a body."""
    return {name.lower(): value.strip() for name, value in _FRAMING.findall(head)}
