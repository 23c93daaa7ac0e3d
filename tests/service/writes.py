"""Every write of the API: how to make requests of it that are accepted, and how to see effects."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg

PREFIX = "/api/v1/investment"
FLAG = "dividend_distribution_enabled"


@dataclass(frozen=True)
class Ready:
    """A request that will be accepted, and the SQL that counts its effects."""

    method: str
    path: str
    body: dict | None
    token: str
    effects: str
    subject: str
    # The same request but for one business field; None when there is no body.
    other_body: dict | None = None


@dataclass
class Writes:
    """Makes requests; all of one object have the same caller, and are counted for one user."""

    service: object
    database: psycopg.Connection
    admin_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    admin_id: str = field(default_factory=lambda: str(uuid4()))

    def __post_init__(self) -> None:
        self.database.execute("INSERT INTO users (id, role) VALUES (%s, 'admin')", [self.admin_id])
        self.database.execute(
            "INSERT INTO api_tokens (token_hash, user_id) VALUES (%s, %s)",
            (hashlib.sha256(self.admin_token.encode()).digest(), self.admin_id),
        )
        self.user = self.service.user()
        self.funded = False

    def counted(self, operation: str) -> str:
        """For whom the operation is counted: the wallet's user, or the caller."""
        theirs = operation in (CREATE, EXECUTE, CANCEL, DEPOSIT)
        return self.user.user_id if theirs else self.admin_id

    def ready(self, operation: str) -> Ready:
        return MAKERS[operation](self)

    def send(self, ready: Ready, **options: object):  # noqa: ANN201 - a Reply
        return self.service.send(
            ready.method, PREFIX + ready.path, ready.body, token=ready.token, **options
        )

    def effects(self, ready: Ready) -> int:
        return self.database.execute(ready.effects, [ready.subject]).fetchone()[0]

    def events(self, operation: str) -> int:
        """How many accepted writes are counted at the moment."""
        return self.database.execute(
            "SELECT count(*) FROM rate_events WHERE user_id = %s AND action = %s"
            " AND at > clock_timestamp() - interval '1 hour'",
            (self.counted(operation), ACTIONS[operation]),
        ).fetchone()[0]

    def fill(self, operation: str, count: int) -> None:
        """So many accepted writes half an hour ago."""
        self.database.execute(
            "INSERT INTO rate_events (user_id, action, at)"
            " SELECT %s, %s, clock_timestamp() - interval '30 min' FROM generate_series(1, %s)",
            (self.counted(operation), ACTIONS[operation], count),
        )

    def age(self, operation: str, seconds: float) -> None:
        """Make the counted writes so much older, as if time had passed."""
        self.database.execute(
            "UPDATE rate_events SET at = at - %s * interval '1 s'"
            " WHERE user_id = %s AND action = %s",
            (seconds, self.counted(operation), ACTIONS[operation]),
        )

    def fund(self) -> None:
        """Money for the user, once."""
        if not self.funded:
            accepted = self.service.deposit(self.user, 1_000)
            assert self.service.finish(accepted)["state"] == "SUCCEEDED"
            self.funded = True

    def investment(self) -> str:
        """A new investment of the user, whose hour of creations does not run out."""
        if self.events(CREATE) >= 4:
            self.age(CREATE, 3601)
        body = {"amount_minor": "5", "currency": "EUR", "instrument": _instrument()}
        reply = self.service.send("POST", f"{PREFIX}/investments", body, token=self.user.token)
        assert reply.status == 201, reply.content
        return reply.document["investment_id"]


CREATE = "POST /investments"
EXECUTE = "POST /investments/{investment_id}/execute"
CANCEL = "POST /investments/{investment_id}/cancel"
DIVIDEND = "POST /investments/{investment_id}/dividends"
USER = "POST /users"
DEPOSIT = "POST /wallets/{user_id}/deposits"
CLOSE = "POST /wallets/{user_id}/close"
SET_FLAG = "PUT /flags/{key}"
CANARY = "PUT /canaries/{flag}"


def _user(writes: Writes) -> Ready:
    body = {"user_id": str(uuid4()), "currency": "EUR", "token": secrets.token_urlsafe(32)}
    return Ready(
        "POST",
        "/users",
        body,
        writes.admin_token,
        "SELECT count(*) FROM users WHERE id = %s",
        body["user_id"],
        body | {"currency": "USD"},
    )


def _deposit(writes: Writes) -> Ready:
    body = {"amount_minor": "5", "currency": "EUR", "reference": str(uuid4())}
    # References are tokens in the database: the job's rows tell one deposit from another.
    return Ready(
        "POST",
        f"/wallets/{writes.user.user_id}/deposits",
        body,
        writes.admin_token,
        f"SELECT count(*) - {_deposits(writes)} FROM deposits WHERE user_id = %s",
        writes.user.user_id,
        body | {"amount_minor": "6"},
    )


def _deposits(writes: Writes) -> int:
    return writes.database.execute(
        "SELECT count(*) FROM deposits WHERE user_id = %s", [writes.user.user_id]
    ).fetchone()[0]


def _close(writes: Writes) -> Ready:
    user_id = writes.service.user().user_id
    effects = "SELECT count(closed_at) FROM wallets WHERE user_id = %s"
    path = f"/wallets/{user_id}/close"
    return Ready("POST", path, None, writes.admin_token, effects, user_id)


def _create(writes: Writes) -> Ready:
    body = {"amount_minor": "5", "currency": "EUR", "instrument": _instrument()}
    return Ready(
        "POST",
        "/investments",
        body,
        writes.user.token,
        "SELECT count(*) FROM investments WHERE instrument = %s",
        body["instrument"],
        body | {"amount_minor": "6"},
    )


def _instrument() -> str:
    return f"I{secrets.token_hex(8).upper()}"


def _execute(writes: Writes) -> Ready:
    writes.fund()
    subject = writes.investment()
    effects = "SELECT count(*) FROM ledger_transactions WHERE kind = 'hold' AND subject_id = %s"
    path = f"/investments/{subject}/execute"
    return Ready("POST", path, None, writes.user.token, effects, subject)


def _cancel(writes: Writes) -> Ready:
    subject = writes.investment()
    effects = """SELECT count(*) FROM investment_state_logs
        WHERE to_state = 'CANCELLED' AND investment_id = %s"""
    return Ready(
        "POST", f"/investments/{subject}/cancel", None, writes.user.token, effects, subject
    )


def _dividend(writes: Writes) -> Ready:
    writes.fund()
    investment_id = writes.investment()
    writes.service.finish(writes.service.execute(writes.user, investment_id))
    event = secrets.token_hex(8)
    body = {"dividend_event_id": event, "total_minor": "3", "currency": "EUR"}
    return Ready(
        "POST",
        f"/investments/{investment_id}/dividends",
        body,
        writes.admin_token,
        "SELECT count(*) FROM dividend_batches WHERE dividend_event_id = %s",
        event,
        body | {"total_minor": "4"},
    )


def _set_flag(writes: Writes) -> Ready:
    [version] = writes.database.execute(
        "SELECT version FROM feature_flags WHERE key = %s", [FLAG]
    ).fetchone()
    reason = secrets.token_hex(8)
    body = {"enabled": True, "pct": 100, "version": version, "reason": reason}
    return Ready(
        "PUT",
        f"/flags/{FLAG}",
        body,
        writes.admin_token,
        "SELECT count(*) FROM flag_audits WHERE reason = %s",
        reason,
        body | {"pct": 99},
    )


def _canary(writes: Writes) -> Ready:
    running = writes.database.execute(
        "SELECT true FROM canaries WHERE flag = %s AND state = 'RUNNING'", [FLAG]
    ).fetchone()
    if not running:  # a start takes a live feature from nobody
        off = "UPDATE feature_flags SET enabled = false, version = version + 1 WHERE key = %s"
        writes.database.execute(off, [FLAG])
    body = {"action": "stop" if running else "start", "reason": secrets.token_hex(8)}
    effects = "SELECT count(*) FROM flag_audits WHERE reason LIKE '%%' || %s"
    reason = body["reason"]
    other = body | {"reason": "another"}
    return Ready("PUT", f"/canaries/{FLAG}", body, writes.admin_token, effects, reason, other)


MAKERS: dict[str, Callable[[Writes], Ready]] = {
    USER: _user,
    DEPOSIT: _deposit,
    CLOSE: _close,
    CREATE: _create,
    EXECUTE: _execute,
    CANCEL: _cancel,
    DIVIDEND: _dividend,
    SET_FLAG: _set_flag,
    CANARY: _canary,
}
ACTIONS = {
    USER: "create_user",
    DEPOSIT: "deposit",
    CLOSE: "close_wallet",
    CREATE: "create_investment",
    EXECUTE: "execute_investment",
    CANCEL: "cancel_investment",
    DIVIDEND: "distribute_dividends",
    SET_FLAG: "set_flag",
    CANARY: "set_flag",
}
OPERATIONS = tuple(MAKERS)
