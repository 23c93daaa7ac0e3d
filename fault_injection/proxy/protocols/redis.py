"""RESP2 and RESP3: one unit per command, except where Redis itself does not pair replies."""

from __future__ import annotations

from typing import Final

from fault_injection.proxy import clock
from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.fit import errors
from fault_injection.proxy.protocols.base import (
    Context,
    Decoder,
    Refusal,
    Unit,
    clip,
    clip_buffer,
)
from fault_injection.proxy.protocols.text import (
    command_name,
    find_marker,
    find_trace,
    key_pattern,
)

MAX_LINE = 64 * 1024
MAX_BULK = 1 << 30
MAX_DEPTH = 64
ITEMS_LIMIT = 32
CR: Final = ord("\r")
ARRAY: Final = ord("*")
STRING: Final = ord("$")
SIMPLE: Final = frozenset(b"+-:_,#(")
BULK: Final = frozenset(b"$!=")
AGGREGATE: Final = frozenset(b"*%~>|")
SUBSCRIPTIONS: Final = frozenset(
    ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE")
)
DELIVERIES: Final = frozenset((b"message", b"pmessage", b"smessage"))
UNPAIRED: Final = frozenset(("MONITOR", "SYNC", "PSYNC"))
KEYLESS: Final = frozenset(("AUTH", "HELLO", "ECHO", "PING"))


class Parser:
    """Reads RESP values from a stream, keeping the first items' heads and tails."""

    __slots__ = ("bulk", "bulk_left", "depth", "inline", "items", "line", "tag")

    def __init__(self, *, inline: bool) -> None:
        self.inline = inline
        self.line = b""
        self.bulk: bytearray | None = None
        self.bulk_left = 0
        self.depth: list[int] = []
        self.tag = 0
        self.items: list[bytes] = []

    @property
    def within(self) -> bool:
        """Whether a value has begun and is not complete."""
        return self.bulk is not None or bool(self.depth or self.line)

    def feed(self, data: bytes) -> list[tuple[int, list[bytes], int]]:
        """Values completed by the chunk: type, items, and the offset of their end."""
        values, at, size = [], 0, len(data)
        while at < size:
            if self.bulk is None and not self.depth and not self.line:
                whole = None if self.inline and data[at] != ARRAY else _whole(data, at)
                if whole is not None:
                    values.append(whole)
                    at = whole[2]
                    continue
            if self.bulk is not None:
                end = min(at + self.bulk_left, size)
                self.bulk += data[at:end]
                self.bulk_left -= end - at
                at = end
                if self.bulk_left:
                    clip_buffer(self.bulk, spare=2)
                    break
                del self.bulk[-2:]
                clip_buffer(self.bulk)
                item, self.bulk = bytes(self.bulk), None
                complete = self._item(item)
            else:
                end = data.find(b"\n", at) + 1
                if not end:
                    self.line += data[at:]
                    if len(self.line) > MAX_LINE:
                        raise Undecodable(f"a line of more than {MAX_LINE} bytes")
                    break
                line, self.line = self.line + data[at:end], b""
                at = end
                complete = self._line(line.rstrip(b"\r\n"))
            if complete:
                values.append((self.tag, self.items, at))
                self.items = []
        return values

    def _line(self, line: bytes) -> bool:
        """Whether the line completes a value."""
        tag = line[0] if line else 0
        if not self.depth:
            if self.inline and tag != ord("*"):
                self.tag, self.items = tag, line.split()
                return bool(self.items)
            self.tag = tag
        if tag in BULK:
            size = _count(line)
            if size < 0:
                return self._item(b"")
            if size > MAX_BULK:
                raise Undecodable(f"a bulk string of {size} bytes")
            self.bulk, self.bulk_left = bytearray(), size + 2
            return False
        if tag in AGGREGATE:
            count = _count(line) * (2 if tag in b"%|" else 1)
            if tag == ord("|"):
                # Attributes precede the value and are no element of what holds it.
                if self.depth:
                    self.depth[-1] += count
                elif count > 0:
                    self.depth.append(count + 1)
                return False
            if count <= 0:
                return self._element()
            if len(self.depth) >= MAX_DEPTH:
                raise Undecodable(f"values nested deeper than {MAX_DEPTH}")
            self.depth.append(count)
            return False
        if tag in SIMPLE:
            return self._item(line[1:])
        raise Undecodable(f"not RESP: {line[:32]!r}")

    def _item(self, item: bytes) -> bool:
        if len(self.items) < ITEMS_LIMIT:
            self.items.append(item)
        return self._element()

    def _element(self) -> bool:
        """One element is complete, and with it perhaps what holds it."""
        while self.depth:
            self.depth[-1] -= 1
            if self.depth[-1]:
                return False
            self.depth.pop()
        return True


def _whole(data: bytes, at: int) -> tuple[int, list[bytes], int] | None:
    """The common values, when the chunk has all of one: no state, a tenth of the time."""
    tag = data[at]
    end = _line_end(data, at)
    if end < 0:
        return None
    if tag in SIMPLE:
        return tag, [data[at + 1 : end]], end + 2
    if tag == ARRAY:
        count = data[at + 1 : end]
        at = end + 2
        if not count.isdigit() or not 0 < int(count) <= ITEMS_LIMIT:
            return None
        wanted = int(count)
    elif tag == STRING:
        wanted = 1
    else:
        return None
    items, size = [], len(data)
    for _ in range(wanted):
        end = _line_end(data, at)
        if end < 0 or data[at] != STRING:
            return None
        length = data[at + 1 : end]
        if not length.isdigit():
            return None
        start = end + 2
        end = start + int(length)
        at = end + 2
        if at > size:
            return None
        items.append(clip(data, start, end))
    return tag, items, at


def _line_end(data: bytes, at: int) -> int:
    """Where the line at an offset ends with CR LF; -1 when it does not."""
    # Not found as CR LF: in lines without CR that would search the whole chunk for each.
    end = data.find(b"\n", at) - 1
    return end if end >= at and data[end] == CR else -1


def _count(line: bytes) -> int:
    try:
        return int(line[1:])
    except ValueError as error:
        raise Undecodable(f"not RESP: {line[:32]!r}") from error


class RedisDecoder(Decoder):
    """Decodes one Redis connection."""

    protocol = "redis"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.client = Parser(inline=True)
        self.server = Parser(inline=False)
        self.subscribed: dict[str, set[bytes]] = {}
        self.ever_subscribed = False
        self.expected: dict[Unit, tuple[str, int]] = {}

    @property
    def within_request(self) -> bool:
        return self.client.within

    def refusal(self, unit: Unit, error: str) -> Refusal:
        reply = f"-{error} {errors('redis')[error]['message']}\r\n".encode()
        # A command without its argument fails, too, and spoils a transaction as the error would.
        return Refusal(reply, stand_in=b"*1\r\n$3\r\nGET\r\n")

    def requests(self, data: bytes) -> list[tuple[Unit, int]]:
        # An empty array is no command: Redis ignores it.
        return [(self._command(items), end) for _, items, end in self.client.feed(data) if items]

    def _command(self, items: list[bytes]) -> Unit:
        name = command_name(items[0])
        if name in UNPAIRED or (name == "CLIENT" and items[1:2] and items[1].upper() == b"REPLY"):
            raise Undecodable(f"{name} breaks the pairing of replies")
        unit = self.open_unit()
        unit.kind, unit.fingerprint, unit.requested = name, name, True
        if len(items) > 1 and name not in KEYLESS:
            at = 3 if name in ("EVAL", "EVALSHA", "FCALL") and len(items) > 3 else 1
            unit.fingerprint = f"{name} {key_pattern(items[at][:256])}"
        if name in SUBSCRIPTIONS:
            self._subscription(unit, name, items[1:])
        self._attribute(unit, items)
        self._follow_transaction(unit, name)
        return unit

    def _subscription(self, unit: Unit, name: str, channels: list[bytes]) -> None:
        """One confirmation per channel; leaving all of them, one per subscribed channel."""
        group = name.removesuffix("SUBSCRIBE").removesuffix("UN")
        held = self.subscribed.setdefault(group, set())
        self.ever_subscribed = True
        if "UNSUBSCRIBE" in name:
            count = len(channels) or len(held)
            held.difference_update(channels or set(held))
        else:
            count = len(channels)
            held.update(channels)
        self.expected[unit] = (name.lower(), max(count, 1))

    def _attribute(self, unit: Unit, items: list[bytes]) -> None:
        for item in items[1:]:
            trace = find_trace(item)
            if trace is not None:
                unit.belongs_to(trace, "text")
                break
        # kombu keeps delivered messages by delivery tag in `unacked` and `unacked_index`.
        if len(items) > 2 and items[1].startswith(b"unacked"):
            if unit.trace is not None:
                self.context.learn(items[2].decode("utf-8", "replace"), unit.trace)
            else:
                for item in items[2:]:
                    trace = self.context.learned.get(item.decode("utf-8", "replace"))
                    if trace is not None:
                        unit.belongs_to(trace, "learned")
                        break
        if unit.trace is None and self.context.markers:
            trace = find_marker(b" ".join(items[1:]), self.context.markers)
            if trace is not None:
                unit.belongs_to(trace, "marker")

    def _follow_transaction(self, unit: Unit, name: str) -> None:
        if name == "MULTI" and self.transaction is None:
            self.begin()
        unit.transaction = self.transaction
        if unit.transaction is not None:
            unit.transaction.saw(unit)
        if name in ("EXEC", "DISCARD"):
            self.transaction = None

    def replies(self, data: bytes) -> list[tuple[Unit, int]]:
        done = []
        for tag, items, end in self.server.feed(data):
            unit = self._reply(tag, items)
            if unit is not None:
                done.append((unit, end))
        return done

    def _reply(self, tag: int, items: list[bytes]) -> Unit | None:
        """The unit that a value completes; pushed values complete none."""
        unit = self.head
        first = items[0] if items else b""
        expected = self.expected.get(unit) if self.expected else None
        if expected is not None and command_name(first).lower() == expected[0]:
            name, left = expected
            if left > 1:
                self.expected[unit] = (name, left - 1)
                return None
            del self.expected[unit]
        elif tag == ord(">") or (self.ever_subscribed and first in DELIVERIES):
            return None
        if unit is None:
            raise Undecodable("a reply without a request")
        self.pending.popleft()
        if expected is not None:
            self.expected.pop(unit, None)
        unit.reply_ns = clock.monotonic_ns()
        if tag in b"-!":
            unit.status = first.partition(b" ")[0].decode("utf-8", "replace")
        else:
            unit.status = first[:32].decode("utf-8", "replace") if tag == ord("+") else "OK"
        if unit.trace is None:
            for item in items:
                trace = find_trace(item)
                if trace is not None:
                    unit.belongs_to(trace, "reply")
                    break
        return unit
