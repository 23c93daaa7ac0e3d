"""Sessions of the operations page: who is logged in, and whether a form is really theirs."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from fastapi import Request
from sqlalchemy import Connection, text

from .. import auth
from ..errors import Problem
from ..settings import Settings

COOKIE = "investment_admin"
_ATTEMPTS_MAX, _ATTEMPTS_WINDOW_S = 10, 60

_OPEN = text("""
INSERT INTO admin_sessions (session_hash, token_hash, expires_at)
VALUES (:session_hash, :token_hash, clock_timestamp() + :lifetime)""")
# Whoever lost the role, or the token that they logged in with, is logged out as well.
_FIND = text("""
SELECT u.id FROM admin_sessions s JOIN api_tokens t ON t.token_hash = s.token_hash
JOIN users u ON u.id = t.user_id
WHERE s.session_hash = :session_hash AND s.expires_at > clock_timestamp()
AND t.revoked_at IS NULL AND u.role = 'admin'""")
_CLOSE = text("DELETE FROM admin_sessions WHERE session_hash = :session_hash")


@dataclass(frozen=True)
class Session:
    """An administrator who is logged in; the cookie holds the secret, the table its hash."""

    secret: str = field(repr=False)
    user_id: UUID

    @property
    def form_token(self) -> str:
        """What every form of this session carries: nobody else can compute it."""
        return hmac.digest(self.secret.encode(), b"form", "sha256").hex()

    @property
    def session_hash(self) -> bytes:
        return hashlib.sha256(self.secret.encode()).digest()


def open_session(connection: Connection, token: str, *, settings: Settings) -> Session:
    """Log in with an administrator's token."""
    token_hash = auth.hash_token(token)
    principal = auth.authenticate(connection, token_hash)
    principal.require_admin()
    session = Session(secrets.token_urlsafe(32), principal.user_id)
    lifetime = timedelta(minutes=settings.admin_session_minutes)
    values = {"session_hash": session.session_hash, "token_hash": token_hash}
    connection.execute(_OPEN, values | {"lifetime": lifetime})
    return session


def find_session(connection: Connection, secret: str) -> Session | None:
    """The session that this cookie belongs to, unless it has ended."""
    session_hash = hashlib.sha256(secret.encode()).digest()
    user_id = connection.execute(_FIND, {"session_hash": session_hash}).scalar_one_or_none()
    return None if user_id is None else Session(secret, user_id)


def close_session(connection: Connection, session: Session) -> None:
    """Log out."""
    connection.execute(_CLOSE, {"session_hash": session.session_hash})


def check_origin(request: Request) -> None:
    """Refuse a form that a browser says was sent from another site's page."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site != "same-origin" or (origin is not None and origin.partition("://")[2] != host):
        raise Problem("forbidden", "The form was not sent from this page.")


def check_form(request: Request, form: Mapping[str, str], session: Session) -> None:
    """Refuse a form that this session was not given."""
    check_origin(request)
    if not hmac.compare_digest(form.get("form_token", "").encode(), session.form_token.encode()):
        raise Problem("forbidden", "The form is not from this session. Open the page again.")


class Attempts:
    """Log-ins that failed: of a minute, a process answers ten. It never refuses the right token."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: deque[float] = deque()

    def failed(self) -> None:
        """Count an attempt that failed, or tell it to wait."""
        now = time.monotonic()
        with self._lock:
            while self._times and self._times[0] <= now - _ATTEMPTS_WINDOW_S:
                self._times.popleft()
            if len(self._times) >= _ATTEMPTS_MAX:
                wait_s = int(self._times[0] + _ATTEMPTS_WINDOW_S - now) + 1
                raise Problem(
                    "rate-limited",
                    f"Too many log-ins failed. Try again in {wait_s} seconds.",
                    headers={"Retry-After": str(wait_s)},
                )
            self._times.append(now)
