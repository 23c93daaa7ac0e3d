"""Flags and canaries, for administrators."""

import time
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import canary, flags
from ..auth import Principal
from ..idempotency import Answer
from ..limits import Action
from ..paths import PREFIX
from ..settings import Settings
from .context import read, write
from .models import CanaryOrder, FlagChange

router = APIRouter(prefix=PREFIX, tags=["admin"])


class SampleMiddleware:
    """Plain ASGI: a request that a flag let pass is a sample of the canary of that flag."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app, self._sampler = app, canary.Sampler(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with flags.watched() as passed:
            try:
                await self._app(scope, receive, observe)
            finally:
                milliseconds = (time.perf_counter() - started) * 1000
                self._sampler.record(passed, status=status, duration_ms=milliseconds)


@router.get("/flags")
def list_flags(request: Request) -> dict[str, list[dict[str, str | int | bool]]]:
    """All flags; `pct` is the share of users for whom a flag that is enabled is on."""

    def query(connection: Connection, principal: Principal) -> list[dict[str, str | int | bool]]:
        principal.require_admin()
        rows = flags.list_all(connection)
        return [row._asdict() | {"updated_at": row.updated_at.isoformat()} for row in rows]

    return {"flags": read(request, query)}


@router.put("/flags/{key}")
def set_flag(request: Request, key: str, body: FlagChange) -> Response:
    """Set a flag whose version the caller has seen. A canary of it stops."""

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        row = canary.set_flag(connection, key, actor_id=principal.user_id, **body.model_dump())
        return Answer.of(200, {"key": key, **row._mapping})

    return write(request, body.fields(), work, action=body.limited_as)


@router.get("/canaries")
def list_canaries(request: Request) -> dict[str, list[dict[str, object]]]:
    """All canaries; one that runs with the figures of its cohort since the step began."""

    def query(connection: Connection, principal: Principal) -> list[dict[str, object]]:
        principal.require_admin()
        return [
            asdict(status) | {"step_at": status.step_at.isoformat()}
            for status in canary.list_all(connection)
        ]

    return {"canaries": read(request, query)}


@router.put("/canaries/{flag}")
def order_canary(request: Request, flag: str, body: CanaryOrder) -> Response:
    """Start a flag's canary at its first step, or stop it at the share that it has reached."""

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        order = canary.start if body.action == "start" else canary.stop
        order(connection, flag, actor_id=principal.user_id, reason=body.reason)
        state = "RUNNING" if body.action == "start" else "STOPPED"
        return Answer.of(200, {"flag": flag, "state": state})

    return write(request, body.fields(), work, action=Action.SET_FLAG)
