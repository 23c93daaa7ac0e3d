"""PostgreSQL's protocol 3: one unit per query string or per Sync, up to ReadyForQuery."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from fault_injection.proxy import clock
from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.fit import errors
from fault_injection.proxy.protocols.base import (
    Context,
    Decoder,
    Refusal,
    Transaction,
    Unit,
)
from fault_injection.proxy.protocols.postgres_messages import (
    CLIENT_SHOWN,
    CLIENT_TAGS,
    CLIENT_TEXT,
    LENGTH,
    SERVER_TAGS,
    SERVER_TEXT,
    Framer,
    bind_values,
    message,
    sqlstate,
)
from fault_injection.proxy.protocols.text import (
    FINGERPRINT_LIMIT,
    Sql,
    find_marker,
    find_trace,
    sql,
    without_comment,
)

(Q, P, B, D, E, C, S, H, X, COPY_DONE, COPY_FAIL) = b"QPBDECSHXcf"
(READY, COMPLETE, ERROR) = b"ZCE"
MAX_STARTUP = 10_000
STARTUP_CODES: Final = {80877102: "CANCEL", 80877103: "SSLREQUEST", 80877104: "GSSENCREQUEST"}
STATEMENTS_LIMIT = 10_000


class Statement(NamedTuple):
    """A parsed statement, remembered by its name."""

    sql: Sql
    trace: str | None


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
        self.copy_sync = self.flushed = False
        self.statements: dict[bytes, Statement] = {}
        self.portals: dict[bytes, Statement] = {}

    @property
    def within_request(self) -> bool:
        return bool(self.startup) or self.current is not None or self.client.within

    @property
    def awaits(self) -> bool:
        return self.flushed and self.current is not None

    def refusal(self, unit: Unit, error: str) -> Refusal:
        entry = errors("postgres")[error]
        severity, words = entry["severity"], entry["message"]
        fields = f"S{severity}\0V{severity}\0C{error}\0M{words}\0\0".encode()
        reply = message(b"E", fields)
        if severity == "FATAL":
            return Refusal(reply, ends=True)
        # The server fails, too, and so knows by itself what state the transaction is in. After a
        # COMMIT that failed there is none.
        raising = f"RAISE EXCEPTION USING ERRCODE = '{error}', MESSAGE = '{words}';"
        text = "ROLLBACK" if unit.kind == "COMMIT" else f"DO $$ BEGIN {raising} END $$"
        return Refusal(reply, stand_in=message(b"Q", text.encode() + b"\0"))

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
        want = 8 if have < 8 else LENGTH.unpack_from(self.startup)[0]
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
            # The client waits for the replies so far.
            self.flushed = self.flushed or tag == H
        elif tag in (COPY_DONE, COPY_FAIL):
            # The Sync behind an extended COPY's data ends no unit: its first Sync was ignored.
            self.copy_sync = self.extended and self.current is None
        return None

    def _open(self, *, extended: bool) -> None:
        if self.current is None:
            self.current = self.open_unit()
            self.current.kind = "SYNC"
            self.executed, self.parsed = [], []
            self.extended, self.copy_sync, self.flushed = extended, False, False

    def _extended_message(self, tag: int, body: bytes) -> None:
        if tag == P:
            name, _, rest = body.partition(b"\0")
            statement = self._statement(rest.partition(b"\0")[0])
            self.parsed.append(statement)
            self._remember(self.statements, name, statement)
            self._mark(rest)
        elif tag == B:
            portal, _, rest = body.partition(b"\0")
            name, _, rest = rest.partition(b"\0")
            statement = self.statements.get(name)
            if statement is not None:
                self._remember(self.portals, portal, statement)
            if self.context.markers and self.current.trace is None:
                self._mark(b" ".join(bind_values(rest)))
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
            unit.status = sqlstate(body)
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
        if unit.handling is not None:
            unit.tail = message(b"Z", body)
        if not unit.requested:
            raise Undecodable("a reply was complete before its request")
        if len(self.pending) > 1:
            return
        if body == b"I":
            self.transaction = None
            return
        if self.transaction is None:
            transaction: Transaction = self.begin()
            if unit.transaction is None:
                unit.transaction = transaction
                transaction.saw(unit)
        self.transaction.failed = body == b"E"
