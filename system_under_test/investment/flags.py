"""Feature flags: which risky operations are on, and for whom.

Flags are read from PostgreSQL in the transaction of the effect, without a cache: a flip is in
force, in every process, for every transaction that begins after it. When the store is away no
effect can commit either, for the effect lives in the same store: it fails closed, with 503.
Flags stop new effects, never recovery: retries, settlement, cancellations and reads ignore them.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from sqlalchemy import Connection, Row, text

from .errors import Problem

MASTER = "investment_module_enabled"
EXECUTION = "investment_execution_enabled"
DIVIDENDS = "dividend_distribution_enabled"
EXTERNAL = "external_investment_integrations_enabled"
ALL = (MASTER, EXECUTION, DIVIDENDS, EXTERNAL)

_BUCKETS = 10_000

_READ = text("""
SELECT f.key, f.enabled, f.pct, f.salt, coalesce(c.state = 'RUNNING', false) AS watched
FROM feature_flags f LEFT JOIN canaries c ON c.flag = f.key WHERE f.key = ANY(:keys)""")
_LIST = text("SELECT key, enabled, pct, version, updated_at FROM feature_flags ORDER BY key")
_LOCK = text("SELECT enabled, pct, version FROM feature_flags WHERE key = :key FOR UPDATE")
_SET = text("""
UPDATE feature_flags SET enabled = :enabled, pct = :pct, version = version + 1,
    updated_at = clock_timestamp()
WHERE key = :key RETURNING enabled, pct, version""")
_AUDIT = text("""
INSERT INTO flag_audits (key, actor_id, reason, before, after)
VALUES (:key, :actor_id, :reason, CAST(:before AS jsonb), CAST(:after AS jsonb))""")
_CREATE = text("""
INSERT INTO feature_flags (key, enabled, pct, salt) VALUES (:key, :enabled, :pct, :salt)
ON CONFLICT (key) DO NOTHING""")

# The flags that let the current request pass and whose canary wants to know how it ended.
_watching: ContextVar[set[str] | None] = ContextVar("watching", default=None)


def bucket(flag: str, salt: str, subject: UUID | str) -> int:
    """The place of a user, or of an instrument for dividends, among 10,000: the same everywhere and
    for good, another for each flag."""
    digest = hashlib.sha256(f"{flag}:{salt}:{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BUCKETS


def in_cohort(flag: str, salt: str, subject: UUID | str, *, pct: int) -> bool:
    """Whether it is among the first `pct` per cent; a higher share only adds others."""
    return bucket(flag, salt, subject) < pct * (_BUCKETS // 100)


def _read(connection: Connection, keys: tuple[str, ...]) -> list[Row]:
    """The master and these flags, those that are switched off or missing left out."""
    rows = connection.execute(_READ, {"keys": [MASTER, *keys]}).all()
    return [row for row in rows if row.enabled]


def is_on(connection: Connection, subject: UUID | str, *keys: str) -> bool:
    """Whether the master and all these flags are on for the user or instrument."""
    on = [r for r in _read(connection, keys) if in_cohort(r.key, r.salt, subject, pct=r.pct)]
    if {row.key for row in on} != {MASTER, *keys}:
        return False
    watching = _watching.get()
    if watching is not None:
        watching.update(row.key for row in on if row.watched)
    return True


def require(connection: Connection, subject: UUID | str, *keys: str) -> None:
    """Refuse a new effect unless the master and all these flags are on for user or instrument."""
    if not is_on(connection, subject, *keys):
        detail = "The feature is switched off here. Nothing was done; try again later."
        raise Problem("feature-disabled", detail)


def is_enabled(connection: Connection, *keys: str) -> bool:
    """Whether the master and all these flags are switched on, whatever their share.

    For workers: whether the user is in the share was decided when the work was accepted.
    """
    return {row.key for row in _read(connection, keys)} == {MASTER, *keys}


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collect the flags that let a request pass while their canary runs."""
    passed: set[str] = set()
    token = _watching.set(passed)
    try:
        yield passed
    finally:
        _watching.reset(token)


def create_missing(connection: Connection, *, enabled: bool) -> None:
    """Create the flags that do not exist yet: on for everybody, or off."""
    for key in ALL:
        values = {"key": key, "enabled": enabled, "pct": 100 if enabled else 0}
        connection.execute(_CREATE, values | {"salt": secrets.token_hex(8)})


def list_all(connection: Connection) -> list[Row]:
    return list(connection.execute(_LIST))


def lock(connection: Connection, key: str) -> Row:
    """The flag, locked. Whoever changes a flag or its canary locks the flag first."""
    row = connection.execute(_LOCK, {"key": key}).one_or_none()
    if row is None:
        raise Problem("not-found", f"There is no flag {key}.")
    return row


def change(
    connection: Connection,
    key: str,
    *,
    enabled: bool,
    pct: int,
    before: Row,
    actor_id: UUID | None,
    reason: str,
) -> Row:
    """Change a locked flag and audit it; without an actor it was the canary's controller."""
    after = connection.execute(_SET, {"key": key, "enabled": enabled, "pct": pct}).one()
    audit(connection, key, before=before, after=after, actor_id=actor_id, reason=reason)
    return after


def audit(
    connection: Connection, key: str, *, before: Row, after: Row, actor_id: UUID | None, reason: str
) -> None:
    def document(row: Row) -> str:
        return json.dumps({"enabled": row.enabled, "pct": row.pct, "version": row.version})

    values = {"before": document(before), "after": document(after)}
    connection.execute(_AUDIT, values | {"key": key, "actor_id": actor_id, "reason": reason})
