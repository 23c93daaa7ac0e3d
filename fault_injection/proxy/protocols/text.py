"""Normalised text (fingerprints) and trace ids found in text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

FINGERPRINT_LIMIT = 4096
CACHE_SIZE = 4096
MIN_TRACEPARENT = len("traceparent=00-") + 32 + len("-") + 16 + len("-")

_TRACE = re.compile(rb"traceparent[\s\"'\\:=,\[]{1,16}[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-")
_SQL_TOKEN = re.compile(
    r"""(?P<text>[eE]'(?:[^'\\]|''|\\.)*'|[bBxXnN]?'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*")
    |(?P<dollar>\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$)
    |(?P<space>(?:\s|--[^\n]*|/\*.*?\*/)+)
    |(?P<parameter>\$\d+)
    |(?P<number>(?<![\w.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)""",
    re.VERBOSE | re.DOTALL,
)
_SAVEPOINT = re.compile(r"^(savepoint|release(?: savepoint)?|rollback to(?: savepoint)?) \S+$")
_ID = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?<![0-9A-Za-z])(?:[0-9a-fA-F]{16,}|\d+)(?![0-9A-Za-z])"
)
_WORD = re.compile(r"[\w.\-]{4,}")
_SQL_KINDS = {"START": "BEGIN", "END": "COMMIT", "ABORT": "ROLLBACK"}


def find_trace(text: bytes | bytearray) -> str | None:
    """The trace id of the first W3C traceparent in a text."""
    if len(text) < MIN_TRACEPARENT:
        return None
    at = text.find(b"traceparent")
    if at < 0:
        return None
    found = _TRACE.search(text, at)
    return found.group(1).decode() if found else None


def find_marker(text: bytes, markers: dict[str, str]) -> str | None:
    """The trace of the first registered marker that stands in the text as a word of its own."""
    for word in _WORD.findall(text.decode("utf-8", "replace")):
        trace = markers.get(word)
        if trace is not None:
            return trace
    return None


@dataclass(frozen=True, slots=True)
class Sql:
    """The verb and the fingerprint of a query string, which may hold several statements."""

    kinds: tuple[str, ...]
    # The end of a transaction if there is one, else the first verb.
    kind: str
    fingerprint: str


def _sql_token(found: re.Match[str]) -> str:
    group = found.lastgroup
    if group == "space":
        return " "
    if group in ("name", "parameter"):
        return found.group()
    return "?"


def without_comment(text: bytes) -> bytes:
    """The text without the comment at its end, where tracing libraries put theirs."""
    text = text.rstrip()
    if text.endswith(b"*/"):
        at = text.rfind(b"/*")
        if at > 0:
            return text[:at].rstrip()
    return text


@lru_cache(maxsize=CACHE_SIZE)
def sql(text: bytes) -> Sql:
    """Lower case, no comments, no literals, single spaces."""
    plain = _SQL_TOKEN.sub(_sql_token, text.decode("utf-8", "replace"))
    statements = [part for raw in plain.split(";") if (part := raw.strip().lower())]
    statements = [_SAVEPOINT.sub(r"\1 ?", statement) for statement in statements]
    kinds = tuple(_sql_kind(statement) for statement in statements) or ("EMPTY",)
    kind = next((kind for kind in kinds if kind in ("COMMIT", "ROLLBACK")), kinds[0])
    return Sql(kinds, kind, "; ".join(statements)[:FINGERPRINT_LIMIT])


def _sql_kind(statement: str) -> str:
    words = statement.split(" ", 2)
    verb = re.match(r"[a-z]*", words[0]).group().upper() or "OTHER"
    if verb == "ROLLBACK" and words[1:2] == ["to"]:
        return "ROLLBACK TO"
    return _SQL_KINDS.get(verb, verb)


@lru_cache(maxsize=CACHE_SIZE)
def without_ids(text: str) -> str:
    """The text with UUIDs, long hexadecimal words and numbers replaced by `{id}`."""
    return _ID.sub("{id}", text)[:FINGERPRINT_LIMIT]


@lru_cache(maxsize=CACHE_SIZE)
def key_pattern(key: bytes) -> str:
    return without_ids(key.decode("utf-8", "replace"))


@lru_cache(maxsize=CACHE_SIZE)
def command_name(word: bytes) -> str:
    return word[:64].decode("ascii", "replace").upper()


def http_target(target: str) -> str:
    """The path with ids replaced, and the names of the query's parameters."""
    path, question, query = target.partition("?")
    path = without_ids(path)
    if not question:
        return path
    names = "&".join(f"{part.partition('=')[0]}=?" for part in query.split("&"))
    return f"{path}?{names}"[:FINGERPRINT_LIMIT]
