"""PostgreSQL's protocol 3: one unit per query string or per Sync, up to ReadyForQuery."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from fault_injection.proxy import clock
from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.protocols.base import (
    Context,
    Decoder,
    Transaction,
    Unit,
    clip,
    clip_buffer,
)
from fault_injection.proxy.protocols.text import (
    FINGERPRINT_LIMIT,
    Sql,
    find_marker,
    find_trace,
    sql,
    without_comment,
)

CLIENT_TAGS: Final = frozenset(b"QPBDECSHXFpdcf")
SERVER_TAGS: Final = frozenset(b"RSKZTDCE123nstIANGHWVvcd")
CLIENT_SHOWN: Final = frozenset(b"QPBDECSHcf")
CLIENT_TEXT: Final = frozenset(b"QPBEC")
SERVER_TEXT: Final = frozenset(b"ZCE")
(Q, P, B, D, E, C, S, H, X, COPY_DONE, COPY_FAIL) = b"QPBDECSHXcf"
(READY, COMPLETE, ERROR) = b"ZCE"
MAX_MESSAGE = 1 << 30
MAX_STARTUP = 10_000
STARTUP_CODES: Final = {80877102: "CANCEL", 80877103: "SSLREQUEST", 80877104: "GSSENCREQUEST"}
STATEMENTS_LIMIT = 10_000
_LENGTH = struct.Struct(">I")


class Statement(NamedTuple):
    """A parsed statement, remembered by its name."""

    sql: Sql
    trace: str | None


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

    def feed(self, data: bytes, at: int) -> list[tuple[int, bytes, int]]:
        """Messages completed by the chunk: tag, text, and the offset of their end."""
        messages = []
        size, tags, text, shown = len(data), self.tags, self.text, self.shown
        while at < size:
            if self.left < 0:
                if size - at >= 5 and not self.header:
                    tag, length = data[at], _LENGTH.unpack_from(data, at + 1)[0]
                    at += 5
                else:
                    taken = data[at : at + 5 - len(self.header)]
                    self.header += taken
                    at += len(taken)
                    if len(self.header) < 5:
                        break
                    tag, length = self.header[0], _LENGTH.unpack_from(self.header, 1)[0]
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


class PostgresDecoder(Decoder):
    """Decodes one PostgreSQL connection."""

    protocol = "postgres"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.startup: bytearray | None = bytearray()
        self.client = Framer(CLIENT_TAGS, shown=CLIENT_SHOWN, text=CLIENT_TEXT)
        self.server = Framer(SERVER_TAGS, shown=SERVER_TEXT, text=SERVER_TEXT)
        self.current: Unit | None = None
        self.executed: list[Statement] = []
        self.parsed: list[Statement] = []
        self.failed: Unit | None = None
        self.extended = False
        self.copy_sync = False
        self.statements: dict[bytes, Statement] = {}
        self.portals: dict[bytes, Statement] = {}

    def requests(self, data: bytes) -> list[tuple[Unit, int]]:
        at, done = 0, []
        while self.startup is not None and at < len(data):
            at = self._startup(data, at, done)
        if at < len(data):
            for tag, body, end in self.client.feed(data, at):
                unit = self._client_message(tag, body)
                if unit is not None:
                    done.append((unit, end))
        return done

    def _startup(self, data: bytes, at: int, done: list[tuple[Unit, int]]) -> int:
        """Start-up packets have no tag; returns the offset after what was taken."""
        have = len(self.startup)
        want = 8 if have < 8 else _LENGTH.unpack_from(self.startup)[0]
        taken = data[at : at + want - have]
        self.startup += taken
        at += len(taken)
        if len(self.startup) < 8:
            return at
        length, code = struct.unpack_from(">II", self.startup)
        kind = STARTUP_CODES.get(code) or ("STARTUP" if code >> 16 == 3 else None)
        if kind is None or not 8 <= length <= MAX_STARTUP:
            raise Undecodable(f"not a PostgreSQL start-up packet: length {length}, code {code}")
        if len(self.startup) < length:
            return at
        unit = self.open_unit()
        unit.kind, unit.fingerprint, unit.requested = kind, kind.lower(), True
        self.startup = None if kind in ("STARTUP", "CANCEL") else bytearray()
        done.append((unit, at))
        return at

    def _client_message(self, tag: int, body: bytes) -> Unit | None:
        """The unit whose request this message completes."""
        if tag == Q:
            statement = self._statement(body[:-1])
            self._open(extended=False)
            self.executed.append(statement)
            self._mark(body)
            return self._request_complete()
        if tag == S:
            if self.copy_sync:
                self.copy_sync = False
                return None
            self._open(extended=True)
            return self._request_complete()
        if tag in (P, B, D, E, C, H):
            self._open(extended=True)
            self._extended_message(tag, body)
        elif tag in (COPY_DONE, COPY_FAIL):
            # The Sync behind an extended COPY's data ends no unit: its first Sync was ignored.
            self.copy_sync = self.extended and self.current is None
        return None

    def _open(self, *, extended: bool) -> None:
        if self.current is None:
            self.current = self.open_unit()
            self.current.kind = "SYNC"
            self.executed, self.parsed = [], []
            self.extended, self.copy_sync = extended, False

    def _extended_message(self, tag: int, body: bytes) -> None:
        if tag == P:
            name, _, rest = body.partition(b"\0")
            statement = self._statement(rest.partition(b"\0")[0])
            self.parsed.append(statement)
            self._remember(self.statements, name, statement)
            self._mark(rest)
        elif tag == B:
            portal, _, rest = body.partition(b"\0")
            name, _, parameters = rest.partition(b"\0")
            statement = self.statements.get(name)
            if statement is not None:
                self._remember(self.portals, portal, statement)
            if self.context.markers and self.current.trace is None:
                self._mark(b" ".join(_parameters(parameters)))
        elif tag == E:
            statement = self.portals.get(body.partition(b"\0")[0])
            if statement is not None:
                self.executed.append(statement)
        elif tag == C:
            names = self.statements if body[:1] == b"S" else self.portals
            names.pop(body[1:].partition(b"\0")[0], None)
            self.current.kind = "CLOSE"

    @staticmethod
    def _remember(names: dict[bytes, Statement], name: bytes, statement: Statement) -> None:
        names[name] = statement
        while len(names) > STATEMENTS_LIMIT:
            del names[next(iter(names))]

    @staticmethod
    def _statement(text: bytes) -> Statement:
        return Statement(sql(without_comment(text)), find_trace(text))

    def _mark(self, text: bytes) -> None:
        if self.context.markers and self.current.attribution is None:
            trace = find_marker(text, self.context.markers)
            if trace is not None:
                self.current.belongs_to(trace, "marker")

    def _request_complete(self) -> Unit:
        unit, self.current = self.current, None
        unit.requested = True
        if self.executed:
            self._describe(unit, self.executed)
        elif self.parsed:
            self._describe(unit, self.parsed)
            unit.kind = "PARSE"
        self._follow_transaction(unit)
        return unit

    def _describe(self, unit: Unit, statements: list[Statement]) -> None:
        unit.kind = statements[0].sql.kind
        fingerprints: list[str] = []
        for statement in statements:
            known = statement.sql
            if known.fingerprint not in fingerprints[-1:]:
                fingerprints.append(known.fingerprint)
            if known.kind in ("COMMIT", "ROLLBACK"):
                unit.kind = known.kind
            if statement.trace is None or statement.trace == unit.trace:
                continue
            if unit.attribution in ("text", "learned"):
                unit.mixed = True
            own = not self.extended or any(statement is parsed for parsed in self.parsed)
            unit.belongs_to(statement.trace, "text" if own else "learned")
        if unit.mixed:
            unit.trace = unit.attribution = None
        one = len(fingerprints) == 1
        text = fingerprints[0] if one else "; ".join(fingerprints)[:FINGERPRINT_LIMIT]
        unit.fingerprint = text

    def _follow_transaction(self, unit: Unit) -> None:
        """Foretells the transaction's state, so that pipelined requests know theirs."""
        ended = False
        for statement in self.executed:
            for kind in statement.sql.kinds:
                if kind == "BEGIN" and self.transaction is None:
                    self.begin()
                    ended = False
                elif kind in ("COMMIT", "ROLLBACK"):
                    ended = True
        unit.transaction = self.transaction
        if unit.transaction is not None:
            unit.transaction.saw(unit)
        if ended:
            self.transaction = None

    def replies(self, data: bytes) -> list[tuple[Unit, int]]:
        at, done = 0, []
        while at < len(data) and self._negotiating(data[at]):
            unit = self.pending.popleft()
            unit.status, unit.reply_ns = chr(data[at]), clock.monotonic_ns()
            at += 1
            done.append((unit, at))
            if unit.status != "N":
                raise Undecodable("the connection is encrypted")
        for tag, body, end in self.server.feed(data, at):
            unit = self._server_message(tag, body)
            if unit is not None:
                done.append((unit, end))
        return done

    def _negotiating(self, answer: int) -> bool:
        head = self.head
        waiting = head is not None and head.kind in ("SSLREQUEST", "GSSENCREQUEST")
        return waiting and answer in b"SNG"

    def _server_message(self, tag: int, body: bytes) -> Unit | None:
        """The unit whose reply this message completes."""
        unit = self.head
        if unit is None:
            return None
        if tag == COMPLETE:
            if self.failed is not unit:
                unit.status = body[:-1].decode("utf-8", "replace")
            return None
        if tag == ERROR:
            unit.status = _sqlstate(body)
            self.failed = unit
            if unit.kind not in ("STARTUP", "CANCEL", "SSLREQUEST", "GSSENCREQUEST"):
                return None
        else:
            self._ready(unit, body)
        self.pending.popleft()
        unit.reply_ns = clock.monotonic_ns()
        return unit

    def _ready(self, unit: Unit, body: bytes) -> None:
        """ReadyForQuery says what the transaction's state really is."""
        if not unit.requested:
            raise Undecodable("a reply was complete before its request")
        if len(self.pending) > 1:
            return
        if body == b"I":
            self.transaction = None
        elif self.transaction is None:
            transaction: Transaction = self.begin()
            if unit.transaction is None:
                unit.transaction = transaction
                transaction.saw(unit)


def _sqlstate(body: bytes) -> str:
    for field in body.split(b"\0"):
        if field[:1] == b"C":
            return field[1:].decode("ascii", "replace")
    return "XX000"


def _parameters(body: bytes) -> list[bytes]:
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
