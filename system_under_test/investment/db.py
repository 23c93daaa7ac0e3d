"""PostgreSQL: engine, units of work, and what to do when the outcome of a COMMIT is unknown."""

from collections.abc import Callable
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from . import logs, tracing
from .settings import Settings

T = TypeVar("T")

SERIALIZATION_FAILURE, DEADLOCK_DETECTED = "40001", "40P01"
LOCK_NOT_AVAILABLE, UNDEFINED_TABLE, STARTING_UP = "55P03", "42P01", "57P03"

_ROLLED_BACK = {SERIALIZATION_FAILURE, DEADLOCK_DETECTED}
_MAX_RUNS = 3
_PROBE_REPLY_TIMEOUT_MS = 1000


class CommitOutcomeUnknown(Exception):  # noqa: N818 - a state of knowledge, not a failure
    """The connection broke while COMMIT was in flight: committed or not, only PostgreSQL knows."""


class NotCommitted(Exception):  # noqa: N818
    """The outcome of a COMMIT was unknown; a read-back found that it left nothing."""


class BoundedConnection(psycopg.Connection):
    """A connection that gives up when a reply is overdue.

    The server's own timeouts cannot help a client whose reply was lost on the way.
    """

    reply_timeout_s: float | None = None

    def wait(self, gen, interval=0.1, timeout=None):  # type: ignore[no-untyped-def]
        if timeout is not None or self.reply_timeout_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.reply_timeout_s)
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(
                f"no reply from PostgreSQL within {self.reply_timeout_s} s"
            ) from None


def connect_arguments(settings: Settings) -> dict[str, object]:
    """What every connection of this process has in common."""
    options = {
        "lock_timeout": settings.lock_timeout_ms,
        "statement_timeout": settings.statement_timeout_ms,
        "idle_in_transaction_session_timeout": 2 * settings.statement_timeout_ms,
    }
    return {
        "application_name": settings.process_name,
        "connect_timeout": 2,
        "keepalives_idle": 10,
        "tcp_user_timeout": 10_000,
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        # Every traced statement differs by its comment: server-side preparation would only cost.
        "prepare_threshold": None,
    }


def make_engine(settings: Settings, *, pool_size: int | None = None) -> Engine:
    """An engine whose pool loses only the connection that broke."""
    return _engine(
        settings,
        reply_timeout_ms=settings.reply_timeout_ms,
        pool_size=pool_size or settings.db_pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_use_lifo=True,
    )


def make_probe(settings: Settings) -> Engine:
    """An engine for looks that must tell the truth now and soon: a fresh connection each."""
    return _engine(settings, reply_timeout_ms=_PROBE_REPLY_TIMEOUT_MS, poolclass=NullPool)


def _engine(settings: Settings, *, reply_timeout_ms: int, **pool: object) -> Engine:
    engine = create_engine(
        settings.database_url,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        use_native_hstore=False,
        connect_args=connect_arguments(settings),
        **pool,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect, _record, args, params):  # type: ignore[no-untyped-def]
        connection = BoundedConnection.connect(*args, **params)
        connection.reply_timeout_s = reply_timeout_ms / 1000
        return connection

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def add_trace(_conn, _cursor, statement, parameters, _context, _many):  # type: ignore[no-untyped-def]
        return statement + tracing.sql_comment(), parameters

    @event.listens_for(engine, "handle_error")
    def keep_pool(context: ExceptionContext) -> None:
        context.invalidate_pool_on_disconnect = False

    return engine


def plain_dsn(settings: Settings) -> str:
    """The database URL as libpq reads it."""
    url: URL = make_url(settings.database_url)
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def place(settings: Settings) -> str:
    """Which database it is, without its secrets."""
    url: URL = make_url(settings.database_url)
    return f"{url.host}:{url.port}/{url.database} as {url.username}"


def told(error: Exception) -> str:
    """The error's name and its first line: the statement, and what PostgreSQL adds as detail,
    may hold the values of a row."""
    cause = getattr(error, "orig", None) or error
    return " ".join([type(cause).__name__, *str(cause).splitlines()[:1]])


def sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def run_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction and commit it.

    Deadlocks, serialization failures and connections lost before COMMIT was sent surely left
    nothing behind: the whole unit of work runs again on another connection, a bounded number of
    times. A connection lost during COMMIT raises CommitOutcomeUnknown and is never retried here.
    """
    for run in range(1, _MAX_RUNS + 1):
        try:
            with engine.connect() as connection:
                result = work(connection)
                _commit(connection)
                return result
        except DBAPIError as error:
            nothing_happened = error.connection_invalidated or sqlstate(error) in _ROLLED_BACK
            if not nothing_happened or run == _MAX_RUNS:
                raise
            logs.warning("transaction_retried", run=run, sqlstate=sqlstate(error))
    raise AssertionError("unreachable")


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise CommitOutcomeUnknown from error
        raise  # PostgreSQL itself said no (a deferred constraint): rolled back for certain


def run_read(engine: Engine, query: Callable[[Connection], T]) -> T:
    """Run read-only statements without a transaction, again when the connection was lost."""
    for run in range(1, _MAX_RUNS + 1):
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                return query(connection)
        except DBAPIError as error:
            if not error.connection_invalidated or run == _MAX_RUNS:
                raise
    raise AssertionError("unreachable")


def run_with_read_back(
    engine: Engine,
    work: Callable[[Connection], T],
    *,
    read_back: Callable[[Connection], T | None],
    step: str,
) -> T:
    """Run `work`; when the COMMIT's outcome is unknown, look for what it would have left.

    `read_back` answers on a fresh connection: the result when it was committed, None when not,
    which raises NotCommitted. When even that fails, CommitOutcomeUnknown reaches the caller.
    """
    try:
        return run_transaction(engine, work)
    except CommitOutcomeUnknown as unknown:
        try:
            result = run_transaction(engine, read_back)
        except (SQLAlchemyError, CommitOutcomeUnknown):  # a pool that ran dry is no DBAPIError
            logs.warning("commit_outcome_unknown", step=step, resolved="unresolved")
            raise unknown from None
        resolved = "absent" if result is None else "committed"
        logs.warning("commit_outcome_unknown", step=step, resolved=resolved)
        if result is None:
            raise NotCommitted from unknown
        return result


def run_step(
    engine: Engine,
    work: Callable[[Connection], T],
    *,
    read_back: Callable[[Connection], T | None],
    step: str,
) -> T:
    """A step of a job: as run_with_read_back, and run again when it surely left nothing.

    Only for work that takes the job's row lock first: the lock waits for a COMMIT that may still
    be on its way, and the fence then decides.
    """
    for run in range(1, _MAX_RUNS + 1):
        try:
            return run_with_read_back(engine, work, read_back=read_back, step=step)
        except NotCommitted:
            if run == _MAX_RUNS:
                raise
    raise AssertionError("unreachable")
