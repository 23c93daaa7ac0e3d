"""Limits: how many accepted writes of a kind a user may have within any hour.

The log of accepted writes in PostgreSQL decides, in the transaction of the effect: what rolls back
consumes nothing. Its clock is the database's.
"""

import math
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from .errors import Problem
from .settings import Settings


class Action(StrEnum):
    """What is counted; each has its own limit in the settings."""

    CREATE_INVESTMENT = "create_investment"
    EXECUTE_INVESTMENT = "execute_investment"
    DISTRIBUTE_DIVIDENDS = "distribute_dividends"
    CANCEL_INVESTMENT = "cancel_investment"
    CREATE_USER = "create_user"
    DEPOSIT = "deposit"
    CLOSE_WALLET = "close_wallet"
    SET_FLAG = "set_flag"


class Limited(Problem):
    """The limit is reached; `wait_s` until the oldest event that stands in the way is an hour old.

    Raised, it rolls back whatever the request did.
    """

    def __init__(self, action: Action, *, limit: int, wait_s: float) -> None:
        self.wait_s = max(1, math.ceil(wait_s))
        super().__init__(
            "rate-limited",
            f"At most {limit} within an hour are accepted: {action}.",
            headers={"Retry-After": str(self.wait_s)},
        )


# Locks the user's row without writing it: whoever comes second waits for the first one's commit.
_LOCK = text("""
INSERT INTO rate_users AS u (user_id) VALUES (:user_id)
ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id WHERE false""")
# A statement of its own, after the lock: its snapshot has what those before us committed.
_SPENT = """
WITH spent AS (
    SELECT at FROM rate_events
    WHERE user_id = :user_id AND action = :action AND at > clock_timestamp() - interval '1 hour'
    ORDER BY at DESC LIMIT :limit
), answer AS (
    SELECT count(*) >= :limit AS is_full,
        coalesce(extract(epoch FROM min(at) - clock_timestamp()), 0) + 3600 AS wait_s FROM spent
)"""
_COUNT = text(f"""{_SPENT}, counted AS (
    INSERT INTO rate_events (user_id, action)
    SELECT :user_id, :action FROM answer WHERE NOT is_full
)
SELECT is_full, wait_s FROM answer""")
_CHECK = text(f"{_SPENT} SELECT is_full, wait_s FROM answer")


def count(connection: Connection, user_id: UUID, action: Action, *, settings: Settings) -> None:
    """Count one accepted write, as the last thing before its commit, or raise Limited."""
    connection.execute(_LOCK, {"user_id": user_id})
    _look(connection, _COUNT, user_id, action, settings)


def check(connection: Connection, user_id: UUID, action: Action, *, settings: Settings) -> None:
    """Raise Limited when there is surely no room; counts nothing and waits for nobody."""
    _look(connection, _CHECK, user_id, action, settings)


def _look(
    connection: Connection, statement: TextClause, user_id: UUID, action: Action, settings: Settings
) -> None:
    limit = getattr(settings, f"limit_{action}")
    parameters = {"user_id": user_id, "action": action.value, "limit": limit}
    row = connection.execute(statement, parameters).one()
    if row.is_full:
        raise Limited(action, limit=limit, wait_s=float(row.wait_s))
