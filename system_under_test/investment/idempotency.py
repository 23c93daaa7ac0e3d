"""Idempotency keys (IETF draft): PostgreSQL decides, Redis may shorten the way to a replay."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from . import db, logs
from .errors import Problem, retry_later
from .limits import Action
from .settings import Settings
from .tracing import current_traceparent

# An RFC 8941 string, or the same characters without quotes, as most clients send it.
_KEY = re.compile(r'"([A-Za-z0-9._:~-]{1,255})"|([A-Za-z0-9._:~-]{1,255})')


def parse_key(values: list[str]) -> str:
    """The key from all Idempotency-Key headers of a request; there must be exactly one."""
    if not values or values == [""]:
        raise Problem("idempotency-key-missing", "Send one Idempotency-Key header, a UUID.")
    match = _KEY.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        raise Problem(
            "idempotency-key-malformed",
            "Send one Idempotency-Key of 1 to 255 characters from A-Z a-z 0-9 . _ : ~ -",
        )
    return match[1] or match[2]


def fingerprint(payload: Mapping[str, object], *, settings: Settings) -> bytes:
    """HMAC-SHA-256 of the business fields in canonical JSON: no header, no time, no key order.

    Keyed, for who reads the table must not find low-entropy fields by trying them.
    """
    key = settings.vault_index_key.encode()
    return hmac.digest(key, canonical_json(payload).encode(), "sha256")


def canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


_MAC_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Answer:
    """A final answer, kept as sent so that every replay has the same bytes."""

    status: int
    body: str
    location: str | None = None
    replayed: bool = False
    # Whose limit an accepted write uses up; the caller's if nobody is named. Not kept.
    counted: UUID | None = None

    @classmethod
    def of(
        cls,
        status: int,
        document: Mapping[str, object],
        *,
        location: str | None = None,
        counted: UUID | None = None,
    ) -> "Answer":
        body = json.dumps(document, separators=(",", ":"))
        return cls(status, body, location, counted=counted)

    @classmethod
    def refusal(cls, code: str, detail: str, **extensions: object) -> "Answer":
        """A definite business refusal: stored and replayed like a success."""
        problem = Problem(code, detail, extensions)
        return cls.of(problem.status, problem.document())


@dataclass(frozen=True)
class Scope:
    """What makes two requests the same one: who, where, which key, and what they asked for.

    Accepted, it counts as an `action`, unless that is None. `counted` is the user whose it will be,
    if that is known before and not the caller.
    """

    token_hash: bytes
    route: str
    key: str
    fingerprint: bytes
    action: Action | None
    counted: UUID | None = None


_CLAIM = text("""
INSERT INTO idempotency_keys (user_id, route, key, fingerprint, traceparent)
VALUES (:user_id, :route, :key, :fingerprint, :traceparent)
ON CONFLICT (user_id, route, key) DO NOTHING RETURNING id""")
_FIND = text("""
SELECT fingerprint, status, body, location FROM idempotency_keys
WHERE user_id = :user_id AND route = :route AND key = :key""")
_FIND_BY_TOKEN = text("""
SELECT k.id, k.fingerprint, k.status, k.body, k.location
FROM idempotency_keys k JOIN api_tokens t ON t.user_id = k.user_id
WHERE t.token_hash = :token_hash AND k.route = :route AND k.key = :key""")
_STORE = text("""
UPDATE idempotency_keys SET status = :status, body = :body, location = :location
WHERE id = :claim_id""")


def claim(connection: Connection, user_id: UUID, scope: Scope) -> int | Answer:
    """Claim the key for this transaction (the claim's id), or the answer that was already given.

    A concurrent claim of the same key waits here for the first one to commit or roll back.
    """
    where = {"user_id": user_id, "route": scope.route, "key": scope.key}
    values = {"fingerprint": scope.fingerprint, "traceparent": current_traceparent()}
    try:
        claim_id = connection.execute(_CLAIM, where | values).scalar_one_or_none()
    except DBAPIError as error:
        if db.sqlstate(error) != db.LOCK_NOT_AVAILABLE:
            raise
        raise retry_later(
            "request-in-progress", "The first request with this key is still running."
        ) from None
    if claim_id is not None:
        return claim_id
    return replace(_checked(connection.execute(_FIND, where).one(), scope), replayed=True)


def store(connection: Connection, claim_id: int, answer: Answer) -> None:
    """Keep the final answer with the claim, in the transaction of the effect."""
    kept = {"status": answer.status, "body": answer.body, "location": answer.location}
    connection.execute(_STORE, kept | {"claim_id": claim_id})


def find_answer(connection: Connection, scope: Scope, *, claim_id: int | None) -> Answer | None:
    """The committed answer of a request whose COMMIT got lost; a replay if another gave it."""
    where = {"token_hash": scope.token_hash, "route": scope.route, "key": scope.key}
    row = connection.execute(_FIND_BY_TOKEN, where).one_or_none()
    return None if row is None else replace(_checked(row, scope), replayed=row.id != claim_id)


def _checked(row: Row, scope: Scope) -> Answer:
    if bytes(row.fingerprint) != scope.fingerprint:
        raise Problem(
            "idempotency-key-reused",
            "This key was used with another payload. Use a new key for a new request.",
        )
    return Answer(row.status, row.body, row.location)


def seal(scope: Scope, answer: Answer) -> bytes:
    """An answer as it is cached, with a MAC: keyed by the caller's token, over the request."""
    content = canonical_json([answer.status, answer.body, answer.location]).encode()
    return hmac.digest(scope.token_hash, scope.fingerprint + content, "sha256") + content


def unseal(scope: Scope, sealed: bytes) -> Answer | None:
    """The answer to this very request of this very caller; None for anything else."""
    mac, content = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
    expected = hmac.digest(scope.token_hash, scope.fingerprint + content, "sha256")
    if not hmac.compare_digest(mac, expected):
        return None
    return Answer(*json.loads(content), replayed=True)


class CacheUnavailable(Exception):  # noqa: N818
    """Redis gave nothing that can be used: ask PostgreSQL, and do not wait for Redis again."""


class AnswerCache:
    """Hints in Redis that save a transaction, never decisions: final answers, and who is limited.

    Their names contain the hash of the caller's token, so that nobody is served another's answer.
    Whatever goes wrong, an error, a delay, a value that is not ours: ask PostgreSQL. Hence the
    broad excepts; a parser that chokes raises anything. The client never retries by itself.
    """

    def __init__(self, settings: Settings) -> None:
        timeout_s = settings.redis_timeout_ms / 1000
        self._ttl_s = settings.redis_answer_ttl_s
        self._redis = redis.Redis.from_url(
            settings.cache_url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def look_up(self, scope: Scope) -> tuple[Answer | None, bool]:
        """The cached answer to this very request of this very caller; may the caller be limited?"""
        try:
            cached, limited = self._redis.mget([_answer_name(scope), _limited_name(scope)])
            return (None if cached is None else unseal(scope, cached)), limited is not None
        except Exception as error:
            logs.warning("answer_cache_unavailable", action="get", error=type(error).__name__)
            raise CacheUnavailable from error

    def put(self, scope: Scope, answer: Answer) -> None:
        """Remember an answer that is committed."""
        self._set(_answer_name(scope), seal(scope, answer), ttl_s=self._ttl_s)

    def put_limited(self, scope: Scope, *, wait_s: int) -> None:
        """Remember that the limit was reached: next time it is looked at before anything else."""
        self._set(_limited_name(scope), b"", ttl_s=wait_s)

    def ping(self) -> bool:
        try:
            return bool(self._redis.ping())
        except Exception:
            return False

    def _set(self, name: str, value: bytes, *, ttl_s: int) -> None:
        try:
            self._redis.set(name, value, ex=ttl_s)
        except Exception as error:
            logs.warning("answer_cache_unavailable", action="set", error=type(error).__name__)


def _answer_name(scope: Scope) -> str:
    return _name("answer", scope.token_hash, scope.route, scope.key)


def _limited_name(scope: Scope) -> str:
    return _name("limited", scope.token_hash, scope.action or "", str(scope.counted or ""))


def _name(kind: str, token_hash: bytes, *parts: str) -> str:
    content = b"\n".join((token_hash, *(part.encode() for part in parts)))
    return f"{kind}:{hashlib.sha256(content).hexdigest()}"
