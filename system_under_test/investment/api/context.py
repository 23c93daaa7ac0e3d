"""What every endpoint shares: who asks, reads, and writes under an idempotency key."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request, Response
from sqlalchemy import Connection, Engine

from .. import auth, db, idempotency
from ..auth import Principal
from ..errors import retry_later
from ..idempotency import Answer, AnswerCache, CacheUnavailable, Scope
from ..settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """The connections of one API process."""

    settings: Settings
    engine: Engine
    cache: AnswerCache


def services_of(request: Request) -> Services:
    return request.app.state.services


def read(request: Request, query: Callable[[Connection, Principal], T]) -> T:
    """Authenticate and read, without a transaction."""
    token_hash = auth.hash_token(auth.bearer_token(request.headers.get("authorization")))

    def authenticated(connection: Connection) -> T:
        return query(connection, auth.authenticate(connection, token_hash))

    return db.run_read(services_of(request).engine, authenticated)


def scope_of(request: Request, payload: dict[str, str]) -> Scope:
    """The request's identity. The route is the path itself: a key belongs to one resource."""
    token = auth.bearer_token(request.headers.get("authorization"))
    return Scope(
        token_hash=auth.hash_token(token),
        route=f"{request.method} {request.url.path}",
        key=idempotency.parse_key(request.headers.getlist("idempotency-key")),
        fingerprint=idempotency.fingerprint(payload),
    )


def write(
    request: Request, scope: Scope, work: Callable[[Connection, Principal], Answer]
) -> Answer:
    """Authenticate, claim the key, do the work and keep the answer: one transaction.

    Redis may know the answer of a replay; whether the caller may have it, PostgreSQL says. A
    COMMIT whose outcome is unknown is resolved by reading the key back: its answer is the answer,
    and without one the caller is told to send the key again.
    """
    services = services_of(request)
    try:
        cached, cache_answers = services.cache.get(scope), True
    except CacheUnavailable:
        cached, cache_answers = None, False
    if cached is not None:
        db.run_read(services.engine, lambda c: auth.authenticate(c, scope.token_hash))
        return cached

    claim_id: int | None = None

    def transaction(connection: Connection) -> Answer:
        nonlocal claim_id
        principal = auth.authenticate(connection, scope.token_hash)
        claimed = idempotency.claim(connection, principal.user_id, scope)
        if isinstance(claimed, Answer):
            return claimed
        claim_id = claimed
        answer = work(connection, principal)
        idempotency.store(connection, claimed, answer)
        return answer

    def find(connection: Connection) -> Answer | None:
        return idempotency.find_answer(connection, scope, claim_id=claim_id)

    try:
        answer = db.run_with_read_back(services.engine, transaction, read_back=find, step="api")
    except (db.NotCommitted, db.CommitOutcomeUnknown):
        raise retry_later(
            "outcome-unknown", "The database was lost during the commit: send the key again."
        ) from None
    if cache_answers:
        services.cache.put(scope, answer)
    return answer


def respond(answer: Answer) -> Response:
    """Send the stored bytes as they are."""
    headers = {"Location": answer.location} if answer.location else {}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    kind = "application/json" if answer.status < 400 else "application/problem+json"
    return Response(answer.body, answer.status, headers, media_type=kind)
