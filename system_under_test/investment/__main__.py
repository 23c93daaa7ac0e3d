"""Start one process of the service: `python -m investment api|worker|relay|sweeper|…`."""

import argparse
import sys
import time
import traceback
from collections.abc import Callable

from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, ProgrammingError

from . import access, auth, db, flags, guards, logs, partners, rotation, tracing
from .partners import PartnerAuthError
from .settings import Settings, get_settings
from .vault import UndecryptableError, VaultKeysError, vault_of

_START_TIMEOUT_S = 30

# What only one process needs, such as FastAPI or Celery, is imported by that process alone.


def _api(settings: Settings, arguments: argparse.Namespace) -> None:
    import uvicorn

    from .api.app import create_app

    app = create_app(settings)
    tracing.start_spans(settings)
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        timeout_keep_alive=75,
        access_log=False,
        log_config=None,
        server_header=False,
    )


def _worker(settings: Settings, _arguments: argparse.Namespace) -> None:
    from . import worker

    guards.require_at_start(settings, vault_of(settings))
    worker.main(settings)


def _relay(settings: Settings, _arguments: argparse.Namespace) -> None:
    from .relay import Relay

    guards.require_at_start(settings)
    tracing.start_spans(settings)
    Relay(settings).run()


def _sweeper(settings: Settings, _arguments: argparse.Namespace) -> None:
    from .sweeper import Sweeper

    guards.require_at_start(settings, vault_of(settings))
    tracing.start_spans(settings)
    Sweeper(settings).run()


def _when_database_answers(settings: Settings, task: Callable[..., object]) -> None:
    """Run a task with an engine, waiting a bounded time for the database and its tables."""
    engine = db.make_engine(settings, pool_size=1)
    deadline, waits = time.monotonic() + _START_TIMEOUT_S, False
    while True:
        try:
            task(engine)
            return
        except (OperationalError, ProgrammingError) as error:
            not_yet = db.sqlstate(error) in (None, db.UNDEFINED_TABLE, db.STARTING_UP)
            if not not_yet or time.monotonic() > deadline:
                raise
            if not waits:
                logs.warning("database_awaited", error=db.told(error), where=db.place(settings))
            waits = True
            time.sleep(0.1)


def _transact(settings: Settings, work: Callable[[Connection], None]) -> None:
    _when_database_answers(settings, lambda engine: db.run_transaction(engine, work))


def _migrate(settings: Settings, arguments: argparse.Namespace) -> None:
    from .migrations import runner

    _when_database_answers(settings, lambda e: runner.upgrade(e, arguments.revision))


def _downgrade(settings: Settings, arguments: argparse.Namespace) -> None:
    from .migrations import runner

    _when_database_answers(settings, lambda e: runner.downgrade(e, arguments.revision))


def _bootstrap_admin(settings: Settings, _arguments: argparse.Namespace) -> None:
    if len(settings.admin_token) < auth.MIN_TOKEN_LENGTH:
        sys.exit(
            f"INVESTMENT_ADMIN_TOKEN has {len(settings.admin_token)} characters; it comes from "
            f"the environment; set one of at least {auth.MIN_TOKEN_LENGTH} random characters"
        )

    def add(connection: Connection) -> None:
        auth.add_user(connection, auth.ADMIN_ID, role="admin")
        if not auth.replace_token(connection, auth.ADMIN_ID, token=settings.admin_token):
            sys.exit(
                "INVESTMENT_ADMIN_TOKEN is a user's token, or one that was revoked; it comes from "
                "the environment; set a new one, drawn at random"
            )

    _transact(settings, add)


def _prepare(settings: Settings, arguments: argparse.Namespace) -> None:
    if settings.app_password:
        _transact(settings, lambda c: access.create_role(c, password=settings.app_password))
    _migrate(settings, arguments)
    _transact(settings, vault_of(settings).check)
    _bootstrap_admin(settings, arguments)
    _transact(settings, lambda c: flags.create_missing(c, enabled=settings.initial_flags == "on"))
    _transact(settings, lambda c: partners.store(c, settings))


def _rotate_keys(settings: Settings, _arguments: argparse.Namespace) -> None:
    _when_database_answers(settings, lambda engine: rotation.rotate(engine, vault_of(settings)))


def _unusable(error: ValidationError) -> str:
    """Which settings are wrong; the value of one that may be secret is not told."""
    told = []
    for item in error.errors(include_url=False):
        name = str(item["loc"][0])
        value = f" ({item['input']!r})" if Settings.model_fields[name].repr else ""
        told.append(f"  INVESTMENT_{name.upper()}{value}: {item['msg']}")
    where = "  from the environment\n  correct them, then start again"
    return "\n".join(["settings are not usable", *told, where])


def _ended(error: Exception, settings: Settings) -> str:
    """What happened, the value, where, what to do: never the statement or a row's values."""
    from alembic.util import CommandError

    frames = traceback.extract_tb(error.__traceback__)
    at = [f"{frame.filename}:{frame.lineno}" for frame in frames]
    logs.warning("process_failed", error=db.told(error), at=at)
    fix = "the log line process_failed says where in the code; run it again when that is mended"
    if isinstance(error, CommandError):
        fix = "name a revision that there is: 041, 042, 043, head or base"
    elif isinstance(error, OperationalError):
        fix = "see that PostgreSQL runs and lets this role in, or correct INVESTMENT_DATABASE_URL"
    elif isinstance(error, ProgrammingError):
        fix = "run it as the role that owns the database, in INVESTMENT_DATABASE_URL"
    what = f"{settings.process_name}: it ended with an error\n  {db.told(error)}"
    return logs.redact(f"{what}\n  in {db.place(settings)}\n  {fix}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="investment", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[..., None], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary)
        added.set_defaults(run=run)
        return added

    api = command("api", _api, "serve HTTP")
    api.add_argument("--host", default="127.0.0.1")
    api.add_argument("--port", type=int, required=True)
    command("worker", _worker, "run jobs from the queue")
    command("relay", _relay, "publish the outbox")
    command("sweeper", _sweeper, "redispatch jobs and reconcile orders")
    migrate = command("migrate", _migrate, "upgrade the database")
    migrate.add_argument("revision", nargs="?", default="head")
    downgrade = command("downgrade", _downgrade, "move a revision's tables aside")
    downgrade.add_argument("revision")
    command("bootstrap-admin", _bootstrap_admin, "create the administrator")
    prepare = command("prepare", _prepare, "upgrade the database and create the administrator")
    prepare.set_defaults(revision="head")
    command("rotate-keys", _rotate_keys, "wrap every sealed record by the newest key")

    arguments = parser.parse_args()
    try:
        settings = get_settings()
    except ValidationError as error:
        sys.exit(_unusable(error))
    logs.configure(settings.process_name, settings.log_level)
    logs.hide(*settings.secrets())
    try:
        arguments.run(settings, arguments)
    except (VaultKeysError, UndecryptableError, PartnerAuthError) as error:
        sys.exit(str(error))
    except Exception as error:
        sys.exit(_ended(error, settings))


if __name__ == "__main__":
    main()
