"""What every decoder turns bytes into: units, and the transactions that tie units together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fault_injection.proxy import clock
from fault_injection.proxy.errors import Undecodable
from fault_injection.proxy.records import Record

if TYPE_CHECKING:
    from fault_injection.proxy.connection import Connection

# Text kept of one message: enough for a fingerprint, and for a comment at its end.
HEAD_LIMIT = 4096
TAIL_LIMIT = 1024
PENDING_LIMIT = 10_000
WITHHELD_LIMIT = 64
FINGERPRINTS_PER_TRANSACTION = 256


@dataclass(slots=True)
class Handling:
    """What happens to a unit's reply when it is not simply passed on."""

    # What the client gets in its place; nothing when it is swallowed.
    reply: bytes = b""
    swallowed: bool = False
    # Units that the server does not know, with the replies that follow this one's.
    followers: list[tuple[Unit, bytes, bool]] = field(default_factory=list)

    @property
    def changes_reply(self) -> bool:
        return self.swallowed or bool(self.reply)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the client reads it.

    A stand-in is what the server gets in place of the request so that it fails, too; without one
    it gets nothing. `ends` says that the connection ends with the error.
    """

    reply: bytes
    stand_in: bytes = b""
    ends: bool = False


@dataclass(slots=True, eq=False)
class Unit(Record):
    """One request with its reply.

    `attribution` says how the trace was found; without a trace the unit is shared.
    """

    protocol: str
    kind: str = ""
    fingerprint: str = ""
    trace: str | None = None
    attribution: str | None = None
    request_ns: int = field(default_factory=clock.monotonic_ns)
    reply_ns: int | None = None
    status: str | int | None = None
    transaction: Transaction | None = None
    requested: bool = False
    # Statements of two traces in one request: the unit is shared.
    mixed: bool = False
    connection: Connection | None = None
    toxic: str | None = None
    handling: Handling | None = None
    # The end of a reply that says what state the server is in.
    tail: bytes = b""
    seq: int = 0

    def twin(self) -> Unit:
        """The same request, sent once more."""
        return Unit(
            self.protocol,
            kind=self.kind,
            fingerprint=self.fingerprint,
            trace=self.trace,
            attribution=self.attribution,
            requested=True,
            toxic=self.toxic,
        )

    def belongs_to(self, trace: str, attribution: str) -> None:
        self.trace = trace
        self.attribution = attribution

    def to_json(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "proxy": self.connection.proxy.name,
            "connection": self.connection.number,
            "protocol": self.protocol,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "trace": self.trace,
            "attribution": self.attribution,
            "request_ns": self.request_ns,
            "reply_ns": self.reply_ns,
            "status": self.status,
            "tx": self.transaction.number if self.transaction else None,
            "toxic": self.toxic,
            "client_port": self.connection.client_port,
            "upstream_port": self.connection.upstream_port,
        }


class Transaction:
    """A transaction on one connection: its units share the trace that one of them carries."""

    __slots__ = ("failed", "fingerprints", "mixed", "number", "trace", "withheld")

    def __init__(self, number: int) -> None:
        self.number = number
        # Whether the server said that only its end is left to it.
        self.failed = False
        self.trace: str | None = None
        self.mixed = False
        self.fingerprints: dict[str, None] = {}
        self.withheld: list[Unit] = []

    def saw(self, unit: Unit) -> None:
        """Learns from a unit's request; two traces in one transaction make the rest shared."""
        if len(self.fingerprints) < FINGERPRINTS_PER_TRANSACTION:
            self.fingerprints[unit.fingerprint] = None
        self.mixed = self.mixed or unit.mixed
        if unit.trace is not None and unit.trace != self.trace:
            self.mixed = self.mixed or self.trace is not None
            self.trace = unit.trace
        self.adopt(unit)

    def adopt(self, unit: Unit) -> None:
        if unit.trace is None and self.trace is not None and not self.mixed:
            unit.belongs_to(self.trace, "transaction")

    def settle(self, unit: Unit, *, ended: bool) -> list[Unit]:
        """Units that can be recorded now.

        Units before the first traced one wait for it, so that a record never changes afterwards.
        """
        self.adopt(unit)
        undecided = self.trace is None and not ended and len(self.withheld) < WITHHELD_LIMIT
        self.withheld.append(unit)
        return [] if undecided else self.release()

    def release(self) -> list[Unit]:
        ready, self.withheld = self.withheld, []
        for unit in ready:
            self.adopt(unit)
        return ready


class Context(Protocol):
    """What decoders of one process share: registered markers and ids learned from messages."""

    markers: dict[str, str]
    learned: dict[str, str]

    def learn(self, identifier: str, trace: str) -> None: ...


class Decoder:
    """Turns the two byte streams of one connection into units; no I/O.

    `requests` and `replies` return what became complete within a chunk, with the offset at which
    it ended.
    """

    protocol = ""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pending: deque[Unit] = deque()
        self.transaction: Transaction | None = None
        self.transactions = 0

    @property
    def head(self) -> Unit | None:
        """The unit whose reply comes next."""
        return self.pending[0] if self.pending else None

    @property
    def within_request(self) -> bool:
        """Whether a request has begun and is not complete."""
        raise NotImplementedError

    @property
    def awaits(self) -> bool:
        """Whether the client waits for an answer before it completes its request."""
        return False

    def refusal(self, unit: Unit, error: str) -> Refusal:
        """One of the fit table's errors as the answer to a unit."""
        raise NotImplementedError

    def kept_open(self, data: bytes) -> bytes:
        """A request without its wish that the connection ends after it."""
        return data

    def requests(self, data: bytes) -> list[tuple[Unit, int]]:
        raise NotImplementedError

    def replies(self, data: bytes) -> list[tuple[Unit, int]]:
        raise NotImplementedError

    def upstream_ended(self) -> list[Unit]:
        """Units that the end of the stream completes."""
        return []

    def abandoned(self) -> list[Unit]:
        """Units that will never be answered, and those that still waited for a trace."""
        units = []
        for transaction in {unit.transaction for unit in self.pending} | {self.transaction}:
            if transaction is not None:
                units += transaction.release()
        for unit in self.pending:
            if unit.transaction is not None:
                unit.transaction.adopt(unit)
        units += self.pending
        self.pending.clear()
        return units

    def open_unit(self) -> Unit:
        if len(self.pending) >= PENDING_LIMIT:
            raise Undecodable(f"more than {PENDING_LIMIT} requests without a reply")
        unit = Unit(self.protocol)
        self.pending.append(unit)
        return unit

    def begin(self) -> Transaction:
        self.transactions += 1
        self.transaction = Transaction(self.transactions)
        return self.transaction

    def settle(self, unit: Unit) -> list[Unit]:
        """Units to record now that this one is complete, in order."""
        transaction = unit.transaction
        if transaction is None:
            return [unit]
        return transaction.settle(unit, ended=transaction is not self.transaction)


def clip(data: bytes, start: int, end: int) -> bytes:
    """The part of a message that is kept: its head and its tail."""
    if end - start <= HEAD_LIMIT + TAIL_LIMIT:
        return data[start:end]
    return data[start : start + HEAD_LIMIT] + data[end - TAIL_LIMIT : end]


def clip_buffer(buffer: bytearray, spare: int = 0) -> None:
    """Drops the middle of a growing buffer, so that it ends up as `clip` would have it.

    `spare` bytes more are kept at its end, for a terminator that will be taken off.
    """
    if len(buffer) > HEAD_LIMIT + TAIL_LIMIT + spare:
        del buffer[HEAD_LIMIT : -TAIL_LIMIT - spare]
