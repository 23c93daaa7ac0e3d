"""The application: routes, trace context, request log, problem documents."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import db, logs, tracing
from ..errors import Problem, retry_later
from ..guards import Watch
from ..idempotency import AnswerCache
from ..metrics import Metrics
from ..paths import PREFIX
from ..settings import Settings
from ..vault import UndecryptableError, vault_of
from . import admin, callbacks, dividends, flags, investments, operations, users
from .context import Services, problem_response
from .document import PROBLEM_RESPONSES, document
from .intake import IntakeMiddleware
from .models import Body

# An answer is its caller's alone, and nothing but what its type says.
_ANSWER_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
# Classes of SQLSTATE that no waiting heals: bad data, broken constraint, bad statement.
_FAULTS_OF_OURS = ("22", "23", "42")


class TraceMiddleware:
    """Plain ASGI: makes the caller's trace current; logs and counts each request once."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, replayed = time.perf_counter(), 500, False

        async def observe(message: Message) -> None:
            nonlocal status, replayed
            if message["type"] == "http.response.start":
                status = message["status"]
                replayed = "idempotent-replayed" in Headers(raw=message["headers"])
                if scope["path"].startswith(PREFIX):
                    message["headers"] = [*message["headers"], *_ANSWER_HEADERS]
            await send(message)

        with tracing.traced(Headers(scope=scope).get("traceparent")):
            try:
                await self._app(scope, receive, observe)
            finally:
                seconds = time.perf_counter() - started
                method, path = scope["method"], scope["path"]
                route = getattr(scope.get("route"), "path", "none")
                self._metrics.observe(
                    method=method, route=route, status=status, seconds=seconds, replayed=replayed
                )
                duration_ms = round(seconds * 1000, 1)
                logs.info(
                    "request", method=method, path=path, status=status, duration_ms=duration_ms
                )


def _problem_response(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem_response(problem)


def _known(location: tuple[int | str, ...]) -> str:
    """Where it is, as far as we know the names: an unknown one may be a secret in a wrong place."""
    if location[0] != "body":
        return ".".join(str(part) for part in location)
    fields = {name for model in Body.__subclasses__() for name in model.model_fields}
    return ".".join(["body", *(str(part) for part in location[1:2] if part in fields)])


def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": _known(item["loc"]), "message": item["msg"]} for item in error.errors()]
    unreadable = any(item["type"] == "json_invalid" for item in error.errors())
    code = "malformed-request" if unreadable else "validation-failed"
    detail = "The fields named in errors are not valid."
    return problem_response(Problem(code, detail, {"errors": errors}))


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    code = codes.get(error.status_code, "malformed-request")
    headers = dict(error.headers or {})
    return problem_response(Problem(code, "See the API's document.", headers=headers))


def _database_error(request: Request, error: Exception) -> Response:
    """Nothing was committed: a lost COMMIT is handled where it happens."""
    state = db.sqlstate(error) if isinstance(error, DBAPIError) else None
    if state and state[:2] in _FAULTS_OF_OURS:
        return _internal_error(request, error)
    logs.warning("database_unavailable", error=type(error).__name__, sqlstate=state)
    detail = "The database cannot answer now; nothing was changed."
    return problem_response(retry_later("unavailable", detail))


def _internal_error(_request: Request, error: Exception) -> Response:
    logs.exception("internal_error", error)
    return problem_response(Problem("internal-error", "Send the request again with the same key."))


def _undecryptable(_request: Request, error: Exception) -> Response:
    logs.exception("record_not_opened", error)
    detail = "Repeating the request does not help: an operator must see to the vault's keys."
    return problem_response(Problem("undecryptable", detail))


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # A request that has a thread has a connection: the pool cannot run dry in between.
        to_thread.current_default_thread_limiter().total_tokens = settings.db_pool_size
        yield

    app = FastAPI(
        lifespan=lifespan,
        title="Investment service",
        version="1",
        openapi_url="/api/v1/investment/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would lead to the host that the caller named
        # Spans of requests, if there is a provider of spans; not of what operators look at.
        telemetry={"operation_spans": False, "exclude": lambda s: not s["path"].startswith(PREFIX)},
    )
    cache, probe = AnswerCache(settings), db.make_probe(settings)
    watch = Watch(probe, vault_of(settings))
    metrics = Metrics(probe, watch, cache.ping)
    app.state.services = Services(
        settings, db.make_engine(settings), cache, vault_of(settings), watch, metrics
    )
    for module in (users, investments, dividends, callbacks, flags, admin, operations):
        app.include_router(module.router, responses=PROBLEM_RESPONSES)
    document(app)
    app.add_middleware(flags.SampleMiddleware, settings=settings)
    app.add_middleware(IntakeMiddleware)
    app.add_middleware(TraceMiddleware, metrics=metrics)
    app.add_exception_handler(Problem, _problem_response)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(UndecryptableError, _undecryptable)
    app.add_exception_handler(Exception, _internal_error)
    return app
