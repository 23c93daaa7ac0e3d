"""PostgreSQL's messages: how a stream is cut into them, and what some of them hold."""

from __future__ import annotations

import struct
from typing import Final

from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.protocols.base import clip, clip_buffer

CLIENT_TAGS: Final = frozenset(b"QPBDECSHXFpdcf")
SERVER_TAGS: Final = frozenset(b"RSKZTDCE123nstIANGHWVvcd")
CLIENT_SHOWN: Final = frozenset(b"QPBDECSHcf")
CLIENT_TEXT: Final = frozenset(b"QPBEC")
SERVER_TEXT: Final = frozenset(b"ZCE")
MAX_MESSAGE = 1 << 30
LENGTH = struct.Struct(">I")


def message(tag: bytes, body: bytes) -> bytes:
    """One message as it goes over the wire."""
    return tag + LENGTH.pack(len(body) + 4) + body


class Framer:
    """Cuts one direction into messages, keeping only the text of the tags that matter."""

    __slots__ = ("body", "header", "left", "shown", "tag", "tags", "text")

    def __init__(
        self, tags: frozenset[int], *, shown: frozenset[int], text: frozenset[int]
    ) -> None:
        self.tags = tags
        self.shown = shown
        self.text = text
        self.header = b""
        self.tag = 0
        self.left = -1
        self.body = bytearray()

    @property
    def within(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self.left >= 0 or bool(self.header)

    def feed(self, data: bytes, at: int) -> list[tuple[int, bytes, int]]:
        """Messages completed by the chunk: tag, text, and the offset of their end."""
        messages = []
        size, tags, text, shown = len(data), self.tags, self.text, self.shown
        while at < size:
            if self.left < 0:
                if size - at >= 5 and not self.header:
                    tag, length = data[at], LENGTH.unpack_from(data, at + 1)[0]
                    at += 5
                else:
                    taken = data[at : at + 5 - len(self.header)]
                    self.header += taken
                    at += len(taken)
                    if len(self.header) < 5:
                        break
                    tag, length = self.header[0], LENGTH.unpack_from(self.header, 1)[0]
                    self.header = b""
                if tag not in tags or not 4 <= length <= MAX_MESSAGE:
                    raise Undecodable(f"not a PostgreSQL message: tag {tag}, length {length}")
                end = at + length - 4
                if end <= size:
                    if tag in shown:
                        messages.append((tag, clip(data, at, end) if tag in text else b"", end))
                    at = end
                    continue
                self.tag, self.left = tag, length - 4
                self.body = bytearray()
            at = self._fill(data, at, messages)
        return messages

    def _fill(self, data: bytes, at: int, messages: list[tuple[int, bytes, int]]) -> int:
        """Takes what the chunk has of a message that spans chunks."""
        end = min(at + self.left, len(data))
        if self.tag in self.text:
            self.body += data[at:end]
            clip_buffer(self.body)
        self.left -= end - at
        if self.left == 0:
            if self.tag in self.shown:
                messages.append((self.tag, bytes(self.body), end))
            self.left = -1
        return end


def sqlstate(body: bytes) -> str:
    """The code that an ErrorResponse carries."""
    for field in body.split(b"\0"):
        if field[:1] == b"C":
            return field[1:].decode("ascii", "replace")
    return "XX000"


def bind_values(body: bytes) -> list[bytes]:
    """The values of a Bind message as text; binary integers and UUIDs are written out."""
    values: list[bytes] = []
    try:
        formats = struct.unpack_from(">H", body)[0]
        at = 2 + 2 * formats
        count = struct.unpack_from(">H", body, at)[0]
        binary = struct.unpack_from(f">{formats}H", body, 2)
        at += 2
        for number in range(count):
            length = struct.unpack_from(">i", body, at)[0]
            at += 4
            if length < 0:
                continue
            value = body[at : at + length]
            at += length
            is_binary = binary[number if formats > 1 else 0] if formats else 0
            values.append(_as_text(value) if is_binary else value)
    except (struct.error, IndexError):
        # The message was clipped: what was read so far is what there is.
        pass
    return values


def _as_text(value: bytes) -> bytes:
    if len(value) in (2, 4, 8):
        return str(int.from_bytes(value, "big", signed=True)).encode()
    if len(value) == 16:
        text = value.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])).encode()
    return value
