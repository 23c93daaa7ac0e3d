"""The double-entry ledger: append-only, integer minor units, balanced by the schema.

Client accounts (`L:…`) have a cached balance, guarded by a row lock and a CHECK. System accounts
(`A:…` assets, `I:…` income) have none: their balance is the sum of their entries, so that they
never make one client wait for another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from .tracing import current_traceparent


def cash(currency: str) -> str:
    return f"A:CASH:{currency}"


def position(instrument: str, currency: str) -> str:
    return f"A:POS:{instrument}:{currency}"


def fee(currency: str) -> str:
    return f"I:FEE:{currency}"


def wallet(user_id: UUID) -> str:
    return f"L:WALLET:{user_id}"


def hold(investment_id: UUID) -> str:
    return f"L:HOLD:{investment_id}"


def invested(investment_id: UUID) -> str:
    return f"L:INV:{investment_id}"


def clearing(batch_id: UUID) -> str:
    """Dividend cash that is not paid out yet."""
    return f"L:DIVCLR:{batch_id}"


def unclaimed(batch_id: UUID) -> str:
    """Dividends that could not be delivered; one for each batch, so that none waits for others."""
    return f"L:UNCLAIMED:{batch_id}"


@dataclass(frozen=True)
class Leg:
    """One side of a posting: D(ebit) or C(redit)."""

    direction: str
    account_id: str
    amount_minor: int

    @property
    def is_cached(self) -> bool:
        return self.account_id.startswith("L:")

    @property
    def balance_change(self) -> int:
        """Client accounts are liabilities: a credit raises them."""
        return self.amount_minor if self.direction == "C" else -self.amount_minor


def debit(account_id: str, amount_minor: int) -> Leg:
    return Leg("D", account_id, amount_minor)


def credit(account_id: str, amount_minor: int) -> Leg:
    return Leg("C", account_id, amount_minor)


_ENSURE_ACCOUNTS = text("""
INSERT INTO ledger_accounts (id, currency, normal_side, balance_minor)
SELECT id, :currency, CASE WHEN id LIKE 'A:%' THEN 'D' ELSE 'C' END,
       CASE WHEN id LIKE 'L:%' THEN 0 END
FROM unnest(CAST(:ids AS text[])) AS id
ON CONFLICT (id) DO NOTHING""")

_LOCK_ACCOUNTS = text("""
SELECT id, balance_minor FROM ledger_accounts
WHERE id = ANY(:ids) AND balance_minor IS NOT NULL ORDER BY id FOR UPDATE""")

_INSERT_TRANSACTION = text("""
INSERT INTO ledger_transactions (kind, subject_id, step, currency, fence, traceparent)
VALUES (:kind, :subject_id, 0, :currency, :fence, :traceparent) RETURNING id""")

_INSERT_ENTRIES = text("""
INSERT INTO ledger_entries (tx_id, account_id, direction, amount_minor)
SELECT :tx_id, account_id, direction, amount_minor
FROM unnest(CAST(:accounts AS text[]), CAST(:directions AS text[]), CAST(:amounts AS bigint[]))
     WITH ORDINALITY AS leg(account_id, direction, amount_minor, position)
ORDER BY position""")

_CHANGE_BALANCES = text("""
UPDATE ledger_accounts AS account SET balance_minor = account.balance_minor + change.minor
FROM unnest(CAST(:ids AS text[]), CAST(:changes AS bigint[])) AS change(id, minor)
WHERE account.id = change.id""")


def ensure_accounts(connection: Connection, account_ids: Iterable[str], *, currency: str) -> None:
    """Create the accounts that do not exist yet."""
    connection.execute(_ENSURE_ACCOUNTS, {"ids": sorted(account_ids), "currency": currency})


def lock_accounts(connection: Connection, account_ids: Iterable[str]) -> dict[str, int]:
    """Lock client accounts in the one global order (by id) and read their balances."""
    rows = connection.execute(_LOCK_ACCOUNTS, {"ids": sorted(account_ids)})
    return {row.id: row.balance_minor for row in rows}


def post(
    connection: Connection,
    *,
    kind: str,
    subject_id: str,
    currency: str,
    legs: list[Leg],
    fence: int | None = None,
) -> None:
    """Post one ledger transaction; its client accounts must be locked.

    The natural key (kind, subject, step) makes a second posting of the same thing impossible.
    """
    posted = {"kind": kind, "subject_id": subject_id, "currency": currency, "fence": fence}
    posted["traceparent"] = current_traceparent()
    entries = {
        "tx_id": connection.scalar(_INSERT_TRANSACTION, posted),
        "accounts": [leg.account_id for leg in legs],
        "directions": [leg.direction for leg in legs],
        "amounts": [leg.amount_minor for leg in legs],
    }
    connection.execute(_INSERT_ENTRIES, entries)
    changes: dict[str, int] = {}
    for leg in legs:
        if leg.is_cached:
            changes[leg.account_id] = changes.get(leg.account_id, 0) + leg.balance_change
    connection.execute(_CHANGE_BALANCES, {"ids": list(changes), "changes": list(changes.values())})
