"""The operations page: flags, canaries and their audit trail, for people. Plain HTML and forms.

Every change is made by the same functions as the API's. There are no idempotency keys here: a
form carries the version that its reader saw, so that sent twice it changes nothing twice.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import SQLAlchemyError

from .. import canary, db, flags, limits, logs
from ..errors import PROBLEMS, Problem
from ..limits import Action
from . import sessions
from .context import services_of
from .models import CanaryOrder, FlagChange
from .sessions import COOKIE, Session

_TEMPLATES = Path(__file__).parents[1] / "templates"
_pages = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_attempts = sessions.Attempts()

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_TITLES = {
    flags.MASTER: ("Investment module", "The master: off, every new effect below is off, too."),
    flags.EXECUTION: ("Executions", "New executions, which hold money and place orders."),
    flags.DIVIDENDS: ("Dividends", "New distributions of dividends."),
    flags.EXTERNAL: ("External partner", "First orders at the partner; retries go on."),
}
_WRONG = {
    "pct": "The share is a whole number from 0 to 100.",
    "reason": "Say why in 1 to 200 characters: the audit trail keeps it.",
    "version": "The form is incomplete: open the page again.",
    "action": "The form is incomplete: open the page again.",
}
_AUDITS = text("""
SELECT at, key, actor_id, reason, before, after FROM flag_audits ORDER BY id DESC LIMIT 100""")


def _page(template: str, status: int = 200, **content: object) -> HTMLResponse:
    return HTMLResponse(_pages.get_template(template).render(content), status)


def _error_page(status: int, title: str, detail: str) -> HTMLResponse:
    return _page("error.html", status, title=title, detail=detail)


class _Page(APIRoute):
    """A route that answers with a page even when something goes wrong."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def page(request: Request) -> Response:
            try:
                response = await handle(request)
            except Problem as problem:
                title = PROBLEMS[problem.code].title
                response = _error_page(problem.status, title, problem.detail)
                response.headers.update(problem.headers)
            except (SQLAlchemyError, db.CommitOutcomeUnknown) as error:
                logs.warning("admin_page_failed", error=type(error).__name__)
                response = _error_page(
                    503,
                    "The database cannot answer now.",
                    "A change may have been made or not: open the page again and look.",
                )
            response.headers.update(_HEADERS)
            return response

        return page


router = APIRouter(prefix="/admin", route_class=_Page, include_in_schema=False)


async def _read_form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind != "application/x-www-form-urlencoded":
            raise ValueError(kind)
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    except ValueError:
        raise Problem("malformed-request", "This is not a form of the page.") from None


Form = Annotated[dict[str, str], Depends(_read_form)]


def _session(request: Request) -> Session | None:
    secret = request.cookies.get(COOKIE)
    if not secret:
        return None
    engine = services_of(request).engine
    return db.run_read(engine, lambda c: sessions.find_session(c, secret))


def _to_log_in(request: Request) -> Response:
    ended = "?ended=1" if COOKIE in request.cookies else ""
    return RedirectResponse(f"/admin/login{ended}", 303)


def _index(
    request: Request,
    session: Session,
    *,
    problem: tuple[int, str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Response:
    """The page; after a problem (status, flag, message) with what was put into the form."""

    def query(connection: Connection) -> tuple[list[Row], list[canary.Status], list[Row]]:
        audits = list(connection.execute(_AUDITS))
        return flags.list_all(connection), canary.list_all(connection), audits

    rows, canaries, audits = db.run_read(services_of(request).engine, query)
    by_key = {row.key: row for row in rows}
    status, wrong, message = problem or (200, "", "")
    return _page(
        "index.html",
        status,
        flags=[by_key[key] for key in _TITLES if key in by_key],
        canaries={each.flag: each for each in canaries},
        audits=audits,
        titles=_TITLES,
        steps=canary.STEPS,
        form_token=session.form_token,
        saved=request.query_params.get("saved"),
        wrong=wrong,
        message=message,
        inputs={"reason": "", **(inputs or {})},
    )


@router.get("")
def index(request: Request) -> Response:
    session = _session(request)
    return _to_log_in(request) if session is None else _index(request, session)


@router.get("/style.css")
def style() -> Response:
    return FileResponse(_TEMPLATES / "style.css", media_type="text/css")


@router.get("/login")
def show_login(request: Request) -> Response:
    message = "Your session has ended. Log in again." if "ended" in request.query_params else ""
    return _page("login.html", message=message)


@router.post("/login")
def log_in(request: Request, form: Form) -> Response:
    sessions.check_origin(request)
    services = services_of(request)

    def work(connection: Connection) -> Session:
        return sessions.open_session(connection, form.get("token", ""), settings=services.settings)

    try:
        session = db.run_transaction(services.engine, work)
    except Problem as problem:
        logs.warning("admin_login_refused", code=problem.code)
        _attempts.failed()
        message = "This is no administrator's token."
        return _page("login.html", problem.status, message=message)
    logs.info("admin_logged_in", user_id=session.user_id)
    response = RedirectResponse("/admin", 303)
    response.set_cookie(
        COOKIE,
        session.secret,
        max_age=60 * services.settings.admin_session_minutes,
        path="/admin",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def log_out(request: Request, form: Form) -> Response:
    sessions.check_origin(request)
    session = _session(request)
    if session is not None:
        sessions.check_form(request, form, session)
        engine = services_of(request).engine
        db.run_transaction(engine, lambda c: sessions.close_session(c, session))
    response = RedirectResponse("/admin/login", 303)
    response.delete_cookie(COOKIE, path="/admin")
    return response


def _change(
    request: Request, form: Form, key: str, work: Callable[[Connection, Session], Action | None]
) -> Response:
    """Make the change, count it as what `work` answers, and show the page anew; a refusal is shown
    beside what was put in."""
    session = _session(request)
    if session is None:
        return _to_log_in(request)
    sessions.check_form(request, form, session)
    if key not in _TITLES:
        raise Problem("not-found", "There is no such flag.")
    services = services_of(request)

    def counted(connection: Connection) -> None:
        if action := work(connection, session):
            limits.count(connection, session.user_id, action, settings=services.settings)

    try:
        if not form.get("reason", "").strip():
            raise Problem("validation-failed", _WRONG["reason"])
        db.run_transaction(services.engine, counted)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        return _index(request, session, problem=(422, key, _WRONG[name]), inputs=form)
    except Problem as problem:
        shown = (problem.status, key, problem.detail)
        response = _index(request, session, problem=shown, inputs=form)
        response.headers.update(problem.headers)
        return response
    return RedirectResponse(f"/admin?saved={key}", 303)


def _whole(digits: str) -> int | None:
    return int(digits) if re.fullmatch("[0-9]{1,19}", digits) else None


@router.post("/flags/{key}")
def set_flag(request: Request, key: str, form: Form) -> Response:
    def work(connection: Connection, session: Session) -> Action | None:
        change = FlagChange.model_validate(
            {
                "enabled": "enabled" in form,
                "pct": _whole(form.get("pct", "")),
                "version": _whole(form.get("version", "")),
                "reason": form.get("reason"),
            }
        )
        canary.set_flag(connection, key, actor_id=session.user_id, **change.model_dump())
        return change.limited_as

    return _change(request, form, key, work)


@router.post("/canaries/{key}")
def order_canary(request: Request, key: str, form: Form) -> Response:
    def work(connection: Connection, session: Session) -> Action:
        order = CanaryOrder.model_validate({n: form.get(n) for n in ("action", "reason")})
        make = canary.start if order.action == "start" else canary.stop
        make(connection, key, actor_id=session.user_id, reason=order.reason)
        return Action.SET_FLAG

    return _change(request, form, key, work)
