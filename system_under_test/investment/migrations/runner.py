"""Run migrations from code: no ini file, the connection of the service."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from .. import access


def _run(engine: Engine, change: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.connect() as connection:
        connection.connection.driver_connection.reply_timeout_s = None
        connection.detach()  # closed afterwards: nothing else may take as long
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET {limit} = 0")
        connection.commit()
        config.attributes["connection"] = connection
        getattr(command, change)(config, revision)
        if change == "upgrade":
            access.grant(connection)  # for a role that was created after the last revision
        connection.commit()


def upgrade(engine: Engine, revision: str) -> None:
    _run(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> None:
    _run(engine, "downgrade", revision)
