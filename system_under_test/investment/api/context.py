"""What every endpoint shares: who asks, reads, and writes under an idempotency key."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from fastapi import Request, Response
from sqlalchemy import Connection, Engine, Row, TextClause

from .. import auth, db, idempotency, limits
from ..auth import Principal
from ..errors import Problem, retry_later
from ..guards import Watch
from ..idempotency import Answer, AnswerCache, CacheUnavailable, Scope
from ..limits import Action, Limited
from ..metrics import Metrics
from ..settings import Settings
from ..vault import Vault

T = TypeVar("T")
Work = Callable[[Connection, Principal], Answer]


@dataclass(frozen=True)
class Services:
    """The connections of one API process."""

    settings: Settings
    engine: Engine
    cache: AnswerCache
    vault: Vault
    watch: Watch
    metrics: Metrics


def services_of(request: Request) -> Services:
    return request.app.state.services


def read(request: Request, query: Callable[[Connection, Principal], T]) -> T:
    """Authenticate and read, without a transaction."""
    token_hash = auth.hash_token(auth.bearer_token(request.headers.getlist("authorization")))

    def authenticated(connection: Connection) -> T:
        return query(connection, auth.authenticate(connection, token_hash))

    return db.run_read(services_of(request).engine, authenticated)


def find_own(request: Request, statement: TextClause, resource_id: UUID, *, what: str) -> Row:
    """The row, if the caller owns it or is an administrator; to others it does not exist."""

    def query(connection: Connection, principal: Principal) -> Row | None:
        where = {"id": resource_id, "is_admin": principal.is_admin, "caller_id": principal.user_id}
        return connection.execute(statement, where).one_or_none()

    row = read(request, query)
    if row is None:
        raise Problem("not-found", f"There is no such {what}, or it is not yours.")
    return row


def key_of(request: Request) -> str:
    return idempotency.parse_key(request.headers.getlist("idempotency-key"))


def write(
    request: Request,
    payload: Mapping[str, object],
    work: Work,
    *,
    action: Action | None,
    counted: UUID | None = None,
) -> Response:
    """Authenticate, claim the key, do the work, count it and keep the answer: one transaction.

    `payload` holds the business fields that a repetition has in common with the first request.
    """
    services = services_of(request)
    token = auth.bearer_token(request.headers.getlist("authorization"))
    scope = Scope(
        token_hash=auth.hash_token(token),
        # The path itself: a key belongs to one resource.
        route=f"{request.method} {request.url.path}",
        key=key_of(request),
        fingerprint=idempotency.fingerprint(payload, settings=services.settings),
        action=action,
        counted=counted,
    )
    return _respond(_answer(services, scope, work))


def _answer(services: Services, scope: Scope, work: Work) -> Answer:
    """Redis may know the answer of a replay; whether the caller may have it, PostgreSQL says."""
    services.watch.require()
    try:
        (cached, limited), cache_answers = services.cache.look_up(scope), True
    except CacheUnavailable:
        cached, limited, cache_answers = None, False, False
    if cached is not None:
        db.run_read(services.engine, lambda c: auth.authenticate(c, scope.token_hash))
        return cached

    def replay_or_refuse(connection: Connection) -> Answer | None:
        principal = auth.authenticate(connection, scope.token_hash)
        found = idempotency.find_answer(connection, scope, claim_id=None)
        if found is None and scope.action:
            user_id = scope.counted or principal.user_id
            limits.check(connection, user_id, scope.action, settings=services.settings)
        return found

    if limited and (replay := db.run_read(services.engine, replay_or_refuse)) is not None:
        return replay
    try:
        answer = _commit(services, scope, work)
    except Limited as refusal:
        if cache_answers:
            services.cache.put_limited(scope, wait_s=refusal.wait_s)
        raise
    if cache_answers:
        services.cache.put(scope, answer)
    return answer


def _commit(services: Services, scope: Scope, work: Work) -> Answer:
    """The transaction of a write. A COMMIT whose outcome is unknown is resolved by reading the key
    back: its answer is the answer, and without one the caller is told to send the key again."""
    claim_id: int | None = None

    def transaction(connection: Connection) -> Answer:
        nonlocal claim_id
        principal = auth.authenticate(connection, scope.token_hash)
        claimed = idempotency.claim(connection, principal.user_id, scope)
        if isinstance(claimed, Answer):
            return claimed
        claim_id = claimed
        answer = work(connection, principal)
        if answer.status < 300 and scope.action:
            user_id = answer.counted or principal.user_id
            limits.count(connection, user_id, scope.action, settings=services.settings)
        idempotency.store(connection, claimed, answer)
        return answer

    def find(connection: Connection) -> Answer | None:
        return idempotency.find_answer(connection, scope, claim_id=claim_id)

    try:
        return db.run_with_read_back(services.engine, transaction, read_back=find, step="api")
    except (db.NotCommitted, db.CommitOutcomeUnknown):
        raise retry_later(
            "outcome-unknown", "The database was lost during the commit: send the key again."
        ) from None


def problem_response(problem: Problem) -> Response:
    content = json.dumps(problem.document(), separators=(",", ":"))
    return Response(content, problem.status, problem.headers, media_type="application/problem+json")


def _respond(answer: Answer) -> Response:
    """Send the stored bytes as they are."""
    headers = {"Location": answer.location} if answer.location else {}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    kind = "application/json" if answer.status < 400 else "application/problem+json"
    return Response(answer.body, answer.status, headers, media_type=kind)
