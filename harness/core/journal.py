"""The journal: an append-only file of records, each carrying the hash of the one before.

One writer (the engine), any number of readers. The canonical form is UTF-8 JSON with sorted keys
and no white space, without floats and with integers below 2^53 (amounts are decimal strings), for
which it equals RFC 8785; a test holds the two side by side.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from harness.core import clock
from harness.core.errors import EvidenceError

Data = dict[str, object]
GENESIS = "0" * 64
SEAL = "seal"
_SCALARS = frozenset({str, int, bool, type(None)})
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


@dataclass(frozen=True)
class Record:
    """One line of the journal; `at_ns` counts from the run's first record."""

    seq: int
    at_ns: int
    type: str
    data: Data
    hash: str


def canonical(value: object) -> bytes:
    """The one byte form of a value, over which hashes are taken.

    Raises `EvidenceError` for what has no such form: floats, integers from 2^53 on, other types.
    """
    _refuse_foreign(value)
    try:
        return orjson.dumps(value, option=_CANONICAL)
    except orjson.JSONEncodeError as error:
        raise EvidenceError(
            "a value has no canonical form",
            value=repr(value)[:200],
            where=str(error),
            fix="write large integers as decimal strings, and text as valid Unicode",
        ) from None


def _refuse_foreign(value: object) -> None:
    kind = type(value)
    if kind in _SCALARS or isinstance(value, (str, int)):
        return
    if kind is list or isinstance(value, (list, tuple)):
        for item in value:  # type: ignore[attr-defined]
            # Most items are scalars: the call is what costs.
            if type(item) not in _SCALARS:
                _refuse_foreign(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            # RFC 8785 sorts by UTF-16 units, orjson by code points: equal up to U+FFFF
            if not isinstance(key, str) or not key.isascii() and max(key) > "\uffff":
                raise EvidenceError("a key has no canonical order", value=repr(key))
            if type(item) not in _SCALARS:
                _refuse_foreign(item)
    else:
        raise EvidenceError(
            f"a {kind.__name__} was about to enter the journal",
            value=repr(value)[:200],
            fix="use integers of a named unit, decimal strings, lists and objects",
        )


def _link(previous: str, body: bytes) -> str:
    return hashlib.sha256(previous.encode() + body).hexdigest()


class Journal:
    """The writer. Thread-safe; every record is flushed, and the seal is synced to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start_ns = clock.monotonic_ns()
        self._file: IO[bytes] = path.open("xb")
        self._lock = threading.Lock()
        self._seq = 0
        self._hash = GENESIS
        self.sealed = False

    def write(self, type: str, data: Data, *, at_ns: int | None = None) -> int:
        """Append one record and return its sequence number. `at_ns` is a monotonic time."""
        with self._lock:
            if self.sealed:
                raise EvidenceError("the journal is sealed", value=type, where=str(self.path))
            moment = (clock.monotonic_ns() if at_ns is None else at_ns) - self.start_ns
            body = {"seq": self._seq, "at_ns": moment, "type": type, "data": data}
            digest = _link(self._hash, canonical(body))
            self._file.write(canonical({**body, "prev": self._hash, "hash": digest}) + b"\n")
            self._file.flush()
            self._hash = digest
            self._seq += 1
            return self._seq - 1

    def seal(self) -> str:
        """Write the last record and close the file; returns the head of the chain."""
        self.write(SEAL, {"records": self._seq + 1})
        self.sealed = True
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash

    def close(self) -> None:
        """Close without a seal, as after a crash: the journal stays readable but unsealed."""
        if not self._file.closed:
            self._file.close()


def read(path: Path) -> Iterator[Record]:
    """The records of a journal, each checked against the chain.

    A torn last line is tolerated only while the journal is unsealed. Raises `EvidenceError` where
    the chain breaks.
    """
    previous, seq, sealed = GENESIS, 0, False
    with path.open("rb") as file:
        lines = file.read().split(b"\n")
    torn = lines.pop()
    for number, line in enumerate(lines, start=1):
        where = f"{path.name}:{number}"
        if sealed:
            raise EvidenceError("a record follows the seal", where=where)
        record = _checked(line, previous, seq, where)
        previous, seq, sealed = record.hash, seq + 1, record.type == SEAL
        yield record
    if torn and sealed:
        raise EvidenceError("bytes follow the seal", value=repr(torn[:60]), where=path.name)


def _checked(line: bytes, previous: str, seq: int, where: str) -> Record:
    fix = "the file was edited or damaged; use the original"
    try:
        raw = orjson.loads(line)
        body = {key: raw[key] for key in ("seq", "at_ns", "type", "data")}
        expected = _link(previous, canonical(body))
        # the bytes themselves, for several texts parse to the same value
        ok = raw["seq"] == seq and line == canonical({**body, "prev": previous, "hash": expected})
    except (orjson.JSONDecodeError, EvidenceError, KeyError, TypeError) as error:
        raise EvidenceError(
            "a record cannot be read", value=repr(error), where=where, fix=fix
        ) from None
    if not ok:
        raise EvidenceError("the hash chain breaks", value=f"record {seq}", where=where, fix=fix)
    return Record(seq, raw["at_ns"], raw["type"], raw["data"], raw["hash"])
