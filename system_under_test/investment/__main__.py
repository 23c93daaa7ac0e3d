"""Start one process of the service: `python -m investment api|worker|relay|sweeper|…`."""

import argparse
import sys
import time
from collections.abc import Callable

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

    vault_of(settings)  # without keys the process does not start at all
    guards.require_at_start(settings)
    worker.main(settings)


def _relay(settings: Settings, _arguments: argparse.Namespace) -> None:
    from .relay import Relay

    guards.require_at_start(settings)
    tracing.start_spans(settings)
    Relay(settings).run()


def _sweeper(settings: Settings, _arguments: argparse.Namespace) -> None:
    from .sweeper import Sweeper

    vault_of(settings)  # without keys the process does not start at all
    guards.require_at_start(settings)
    tracing.start_spans(settings)
    Sweeper(settings).run()


def _when_database_answers(settings: Settings, task: Callable[..., object]) -> None:
    """Run a task with an engine, waiting a bounded time for the database and its tables."""
    engine = db.make_engine(settings, pool_size=1)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            task(engine)
            return
        except (OperationalError, ProgrammingError) as error:
            not_yet = db.sqlstate(error) in (None, db.UNDEFINED_TABLE, db.STARTING_UP)
            if not not_yet or time.monotonic() > deadline:
                raise
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
    _bootstrap_admin(settings, arguments)
    _transact(settings, lambda c: flags.create_missing(c, enabled=settings.initial_flags == "on"))
    _transact(settings, lambda c: partners.store(c, settings))


def _rotate_keys(settings: Settings, _arguments: argparse.Namespace) -> None:
    _when_database_answers(settings, lambda engine: rotation.rotate(engine, vault_of(settings)))


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
    settings = get_settings()
    logs.configure(settings.process_name, settings.log_level)
    logs.hide(*settings.secrets())
    try:
        arguments.run(settings, arguments)
    except (VaultKeysError, UndecryptableError, PartnerAuthError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
