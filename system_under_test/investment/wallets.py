"""Wallets: the row lock that orders whatever depends on a wallet being open, and its end.

What comes in (deposits, dividends) and what reserves money takes this lock before it looks, so
that a wallet cannot be closed in between. It does not hinder rows that merely refer to the wallet.
"""

from datetime import UTC
from uuid import UUID

from sqlalchemy import Connection, Row, text

from . import ledger
from .errors import Problem
from .idempotency import Answer
from .money import MAX_AMOUNT_MINOR

_LOCK = text("""
SELECT user_id, currency, closed_at FROM wallets WHERE user_id = :user_id FOR NO KEY UPDATE""")
_PAID_IN = text("""
SELECT coalesce((SELECT sum(amount_minor) FROM deposits
        WHERE user_id = :user_id), 0)
    + coalesce((SELECT sum(p.amount_minor) FROM dividend_payouts p
        JOIN investments i ON i.id = p.investment_id
        WHERE i.user_id = :user_id AND p.state = 'POSTED'), 0)""")
# Of an accepted execution the money is held, of an accepted deposit it is still to come, and
# positions earn dividends. One statement: an execution that ends meanwhile is seen as either.
_FIND_UNDER_WAY = text("""
SELECT EXISTS (SELECT FROM jobs WHERE user_id = :user_id AND kind IN ('deposit', 'execution')
        AND state NOT IN ('SUCCEEDED', 'FAILED'))
    OR EXISTS (SELECT FROM investments WHERE user_id = :user_id AND state = 'EXECUTED')""")
_CLOSE = text("""
UPDATE wallets SET closed_at = clock_timestamp() WHERE user_id = :user_id RETURNING closed_at""")


def lock(connection: Connection, user_id: UUID) -> Row:
    """The user's wallet, locked until the end of the transaction."""
    wallet = connection.execute(_LOCK, {"user_id": user_id}).one_or_none()
    if wallet is None:
        raise Problem("not-found", "There is no such wallet.")
    return wallet


def refusal_if_closed(wallet: Row) -> Answer | None:
    """The answer to whoever wants to use a locked wallet that is closed."""
    if wallet.closed_at is None:
        return None
    return Answer.refusal("wallet-closed", "The wallet was closed and takes part in nothing more.")


def has_room(connection: Connection, user_id: UUID, amount_minor: int) -> bool:
    """Whether a locked wallet may take in that much more.

    It never holds more than was paid in, so that sum is what is bounded: nothing that was accepted
    can fail later for the size of the balance.
    """
    paid_in_minor = connection.execute(_PAID_IN, {"user_id": user_id}).scalar_one()
    return paid_in_minor + amount_minor <= MAX_AMOUNT_MINOR


def close(connection: Connection, user_id: UUID) -> Answer:
    """Close an empty wallet without positions that nothing is under way for."""
    wallet = lock(connection, user_id)
    if refused := refusal_if_closed(wallet):
        return refused
    account = ledger.wallet(user_id)
    balance_minor = ledger.lock_accounts(connection, [account])[account]
    if balance_minor or connection.execute(_FIND_UNDER_WAY, {"user_id": user_id}).scalar_one():
        return Answer.refusal(
            "wallet-not-empty",
            "The wallet holds money or positions, or money is on its way from or to it.",
        )
    closed_at = connection.execute(_CLOSE, {"user_id": user_id}).scalar_one()
    return Answer.of(
        200,
        {
            "user_id": str(user_id),
            "currency": wallet.currency,
            "balance_minor": "0",
            # As the wallet's own document writes it.
            "closed_at": closed_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        },
    )
