"""The application: routes, trace context, request log, problem documents."""

import time

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import db, logs, tracing
from ..errors import Problem, retry_later
from ..idempotency import AnswerCache, canonical_json
from ..settings import Settings
from . import investments, operations, users
from .context import Services
from .document import PROBLEM_RESPONSES, document

# Classes of SQLSTATE that no waiting heals: bad data, broken constraint, bad statement.
_FAULTS_OF_OURS = ("22", "23", "42")


class TraceMiddleware:
    """Plain ASGI: makes the caller's trace current and logs each request once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with tracing.traced(Headers(scope=scope).get("traceparent")):
            try:
                await self._app(scope, receive, observe)
            finally:
                milliseconds = round((time.perf_counter() - started) * 1000, 1)
                logs.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    duration_ms=milliseconds,
                )


def _problem_response(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return Response(
        canonical_json(problem.document()),
        problem.status,
        problem.headers,
        media_type="application/problem+json",
    )


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"at": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
        for item in error.errors()
    ]
    unreadable = any(item["type"] == "json_invalid" for item in error.errors())
    code = "malformed-request" if unreadable else "validation-failed"
    detail = "The fields named in errors are not valid."
    return _problem_response(request, Problem(code, detail, {"errors": errors}))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    code = codes.get(error.status_code, "malformed-request")
    headers = dict(error.headers or {})
    return _problem_response(request, Problem(code, "See the API's document.", headers=headers))


def _database_error(request: Request, error: Exception) -> Response:
    """Nothing was committed: a lost COMMIT is handled where it happens."""
    state = db.sqlstate(error) if isinstance(error, DBAPIError) else None
    if state and state[:2] in _FAULTS_OF_OURS:
        return _internal_error(request, error)
    logs.warning("database_unavailable", error=type(error).__name__, sqlstate=state)
    return _problem_response(
        request, retry_later("unavailable", "The database cannot answer now; nothing was changed.")
    )


def _internal_error(request: Request, error: Exception) -> Response:
    logs.exception("internal_error", error)
    return _problem_response(
        request, Problem("internal-error", "Send the request again with the same key.")
    )


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(
        title="Investment service",
        version="1",
        openapi_url="/api/v1/investment/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = Services(settings, db.make_engine(settings), AnswerCache(settings))
    for router in (users.router, investments.router, operations.router):
        app.include_router(router, responses=PROBLEM_RESPONSES)
    document(app)
    app.add_middleware(TraceMiddleware)
    app.add_exception_handler(Problem, _problem_response)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(Exception, _internal_error)
    return app
