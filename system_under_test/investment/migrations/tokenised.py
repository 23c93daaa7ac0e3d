"""Move sensitive columns into the vault, and back; rows that are there keep their values.

A value whose vault row was erased comes back as NULL, or as `erased:<token>` where a column needs
one.
"""

from dataclasses import dataclass
from uuid import uuid4

from alembic import op
from sqlalchemy import text

from .. import vault
from ..settings import get_settings

_BATCH = 1000
_FIND_VAULT = "LEFT JOIN token_vault v ON v.token = t."


@dataclass(frozen=True)
class Column:
    """A plain column of a table, whose rows `key` names, and the tokens that replace it."""

    table: str
    key: str
    plain: str
    tokens: str
    purpose: str
    kind: str = "text"


COLUMNS = (
    Column("wallets", "user_id", "account_number", "account_token", vault.ACCOUNT_NUMBER),
    Column("deposits", "id", "reference", "reference_token", vault.DEPOSIT_REFERENCE),
    Column("investments", "id", "metadata", "metadata_token", vault.METADATA, "jsonb"),
    Column(
        "partner_orders",
        "investment_id",
        "partner_order_id",
        "partner_order_token",
        vault.PARTNER_ORDER,
    ),
)
# What the state log names as evidence of an execution: the partner's id, or its token.
_EVIDENCE = """
UPDATE investment_state_logs l SET evidence = o.{new}
FROM partner_orders o WHERE l.investment_id = o.investment_id AND l.evidence = o.{old}"""


def upgrade() -> None:
    vault.vault_of(get_settings()).check(op.get_bind())  # nothing is sealed under wrong keys
    op.execute("ALTER TABLE deposits ADD COLUMN reference_index bytea")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE {column.table} ADD COLUMN {column.tokens} uuid")
        _hide(column)
    op.execute(_EVIDENCE.format(new="partner_order_token::text", old="partner_order_id"))
    for column in COLUMNS:
        op.execute(f"ALTER TABLE {column.table} DROP COLUMN {column.plain}")
    op.execute("""
ALTER TABLE deposits ALTER COLUMN reference_token SET NOT NULL,
    ALTER COLUMN reference_index SET NOT NULL, ADD CHECK (length(reference_index) = 32),
    ADD CONSTRAINT deposits_reference UNIQUE (reference_index)""")


def downgrade() -> None:
    for column in COLUMNS:
        op.execute(f"ALTER TABLE {column.table} ADD COLUMN {column.plain} {column.kind}")
        _reveal(column)
    op.execute(_EVIDENCE.format(new="partner_order_id", old="partner_order_token::text"))
    op.execute("ALTER TABLE deposits DROP COLUMN reference_index")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE {column.table} DROP COLUMN {column.tokens}")
    op.execute("""
ALTER TABLE deposits ALTER COLUMN reference SET NOT NULL,
    ADD CONSTRAINT deposits_reference UNIQUE (reference)""")


def _hide(column: Column) -> None:
    keys, bind = vault.vault_of(get_settings()), op.get_bind()
    found = text(f"SELECT {column.key} AS key, {column.plain}::text AS value FROM {column.table}"
                 f" WHERE {column.plain} IS NOT NULL")  # fmt: skip
    indexed = column.purpose == vault.DEPOSIT_REFERENCE
    index = ", reference_index = :index" if indexed else ""
    change = text(f"UPDATE {column.table} SET {column.tokens} = :token{index}"
                  f" WHERE {column.key} = :key")  # fmt: skip
    for rows in bind.execute(found, execution_options={"yield_per": _BATCH}).partitions():
        kept, changes = [], []
        for row in rows:
            place = vault.Place(column.purpose, uuid4(), str(row.key))
            kept.append(keys.row(place, row.value))
            changed = {"key": row.key, "token": place.token}
            changes.append(
                changed | {"index": keys.blind_index(column.purpose, row.value)}
                if indexed
                else changed
            )
        bind.execute(vault.INSERT, kept)
        bind.execute(change, changes)


def _reveal(column: Column) -> None:
    keys, bind = vault.vault_of(get_settings()), op.get_bind()
    found = text(f"SELECT t.{column.key} AS key, t.{column.tokens} AS token, v.sealed"
                 f" FROM {column.table} t {_FIND_VAULT}{column.tokens}"
                 f" WHERE t.{column.tokens} IS NOT NULL")  # fmt: skip
    change = text(f"UPDATE {column.table} SET {column.plain} = CAST(:value AS {column.kind})"
                  f" WHERE {column.key} = :key")  # fmt: skip
    for rows in bind.execute(found, execution_options={"yield_per": _BATCH}).partitions():
        changes = []
        for row in rows:
            value = f"erased:{row.token}" if column.plain == "reference" else None
            if row.sealed is not None:
                place = vault.Place(column.purpose, row.token, str(row.key))
                value = keys.open(row.sealed, place)
            changes.append({"key": row.key, "value": value})
        bind.execute(change, changes)
