"""Start one process of the service: `python -m investment api|worker|relay|sweeper|…`."""

import argparse
import sys
import time
from collections.abc import Callable

from . import logs
from .settings import Settings, get_settings

_START_TIMEOUT_S = 30


def _api(settings: Settings, arguments: argparse.Namespace) -> None:
    import uvicorn

    from .api.app import create_app

    uvicorn.run(
        create_app(settings),
        host=arguments.host,
        port=arguments.port,
        timeout_keep_alive=75,
        access_log=False,
        log_config=None,
        server_header=False,
    )


def _worker(settings: Settings, _arguments: argparse.Namespace) -> None:
    from . import worker

    worker.main(settings)


def _relay(settings: Settings, _arguments: argparse.Namespace) -> None:
    from .relay import Relay

    Relay(settings).run()


def _sweeper(settings: Settings, _arguments: argparse.Namespace) -> None:
    from .sweeper import Sweeper

    Sweeper(settings).run()


def _when_database_answers(settings: Settings, task: Callable[..., None]) -> None:
    """Run a task with an engine, waiting a bounded time for the database and its tables."""
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from . import db

    engine = db.make_engine(settings, pool_size=1)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            return task(engine)
        except (OperationalError, ProgrammingError) as error:
            not_yet = db.sqlstate(error) in (None, db.UNDEFINED_TABLE, db.STARTING_UP)
            if not not_yet or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _migrate(settings: Settings, arguments: argparse.Namespace) -> None:
    from .migrations import runner

    _when_database_answers(settings, lambda e: runner.upgrade(e, arguments.revision))


def _downgrade(settings: Settings, arguments: argparse.Namespace) -> None:
    from .migrations import runner

    _when_database_answers(settings, lambda e: runner.downgrade(e, arguments.revision))


def _bootstrap_admin(settings: Settings, _arguments: argparse.Namespace) -> None:
    from sqlalchemy import Connection

    from . import auth, db

    if len(settings.admin_token) < auth.MIN_TOKEN_LENGTH:
        sys.exit(
            f"INVESTMENT_ADMIN_TOKEN has {len(settings.admin_token)} characters; it comes from "
            f"the environment; set one of at least {auth.MIN_TOKEN_LENGTH} random characters"
        )

    def add(connection: Connection) -> None:
        auth.add_user(connection, auth.ADMIN_ID, role="admin")
        auth.add_token(connection, auth.ADMIN_ID, token=settings.admin_token)

    _when_database_answers(settings, lambda engine: db.run_transaction(engine, add))


def _prepare(settings: Settings, arguments: argparse.Namespace) -> None:
    from . import access, db

    if settings.app_password:
        _when_database_answers(
            settings,
            lambda engine: db.run_transaction(
                engine, lambda c: access.create_role(c, password=settings.app_password)
            ),
        )
    _migrate(settings, arguments)
    _bootstrap_admin(settings, arguments)


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

    arguments = parser.parse_args()
    settings = get_settings()
    logs.configure(settings.process_name, settings.log_level)
    arguments.run(settings, arguments)


if __name__ == "__main__":
    main()
