"""Migration 043 moves what is sensitive into the vault and, by its reverse, back again."""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Engine

pytestmark = pytest.mark.stack

sys.path.insert(0, str(Path(__file__).parents[2] / "system_under_test"))
from investment import db  # noqa: E402
from investment.migrations import runner  # noqa: E402
from investment.settings import get_settings  # noqa: E402

REFERENCES = [f"bank-{n}-{secrets.token_hex(4)}" for n in range(2_100)]
PLAIN = """
SELECT (SELECT array_agg((user_id, account_number)::text ORDER BY user_id) FROM wallets),
    (SELECT array_agg((id, reference)::text ORDER BY id) FROM deposits),
    (SELECT array_agg((id, metadata)::text ORDER BY id) FROM investments),
    (SELECT array_agg((investment_id, partner_order_id)::text ORDER BY investment_id)
        FROM partner_orders),
    (SELECT array_agg((id, evidence)::text ORDER BY id) FROM investment_state_logs)"""
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY 1, 2"""


@pytest.fixture
def scratch(stack, monkeypatch) -> Iterator[tuple[psycopg.Connection, Engine]]:  # noqa: ANN001
    """A database of its own at revision 042, and the engine that the migrations run on."""
    name = f"tokenised_{secrets.token_hex(4)}"
    dsn = make_conninfo(stack.postgres_dsn, dbname=name)
    url = "postgresql+psycopg://{user}:{password}@{host}:{port}/{dbname}"
    for variable, value in stack.stack.secrets.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("INVESTMENT_DATABASE_URL", url.format(**conninfo_to_dict(dsn)))
    monkeypatch.setenv("INVESTMENT_STATEMENT_TIMEOUT_MS", "100")
    get_settings.cache_clear()
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        engine = db.make_engine(get_settings(), pool_size=1)
        try:
            runner.upgrade(engine, "042")
            with psycopg.connect(dsn, autocommit=True) as database:
                yield database, engine
        finally:
            get_settings.cache_clear()
            engine.dispose()
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def fill(database: psycopg.Connection) -> None:
    """Two users, one without anything optional; an executed and a pending investment."""
    for account_number in ("DE02120300000000202051", None):
        user, account = uuid4(), f"L:WALLET:{uuid4()}"
        done, pending = uuid4(), uuid4()
        database.execute("INSERT INTO users VALUES (%s, 'user')", [user])
        database.execute(
            "INSERT INTO ledger_accounts (id, currency, normal_side, balance_minor)"
            " VALUES (%s, 'EUR', 'C', 0)",
            [account],
        )
        database.execute(
            "INSERT INTO wallets (user_id, currency, account_id, account_number)"
            " VALUES (%s, 'EUR', %s, %s)",
            [user, account, account_number],
        )
        notes = '{"note": "früh \\\\ 🌍"}'
        for investment, metadata, evidence in ((done, notes, "P-1"), (pending, None, None)):
            database.execute(
                "INSERT INTO investments (id, user_id, instrument, amount_minor, currency, state,"
                " metadata, idempotency_key) VALUES (%s, %s, 'F', 5, 'EUR', 'PENDING', %s, 'k')",
                [investment, user, metadata],
            )
            database.execute(
                "INSERT INTO investment_state_logs (investment_id, to_state, evidence)"
                " VALUES (%s, 'PENDING', NULL), (%s, 'EXECUTED', %s), (%s, 'FAILED', 'none')",
                [investment, investment, evidence, investment],
            )
        for investment, order in ((done, "P-1"), (pending, None)):
            database.execute(
                "INSERT INTO partner_orders (investment_id, client_order_id, status, fence,"
                " payload_hash, partner_order_id) VALUES (%s, %s, 'SENT', 1, '', %s)",
                [investment, uuid4(), order],
            )
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO deposits (id, reference, user_id, amount_minor, currency)"
            " SELECT gen_random_uuid(), %s, user_id, 1, 'EUR' FROM wallets LIMIT 1",
            [[reference] for reference in REFERENCES],
        )


def test_rows_keep_their_values_there_and_back_again(scratch) -> None:  # noqa: ANN001
    database, engine = scratch
    fill(database)
    # Slower than any request may be: a migration has no such limit.
    database.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_sleep(2.2); RETURN NULL; END$$"
    )
    database.execute("CREATE TRIGGER slow AFTER UPDATE ON wallets EXECUTE FUNCTION wait()")
    before = database.execute(PLAIN).fetchone()
    columns = database.execute(COLUMNS).fetchall()
    assert str(before).count("P-1") == 4

    runner.upgrade(engine, "head")
    database.execute("DROP FUNCTION wait CASCADE")
    after = database.execute(COLUMNS).fetchall()
    gone = {name for _, name, *_ in columns} - {name for _, name, *_ in after}
    assert gone == {"account_number", "reference", "metadata", "partner_order_id"}
    counts = dict(database.execute("SELECT purpose, count(*) FROM token_vault GROUP BY 1"))
    assert counts == {
        "account-number": 1, "deposit-reference": len(REFERENCES),
        "investment-metadata": 2, "partner-order": 2,
    }  # fmt: skip
    evidence = """SELECT count(*) FROM investment_state_logs l JOIN partner_orders o
        ON l.evidence = o.partner_order_token::text AND l.investment_id = o.investment_id"""
    assert database.execute(evidence).fetchone() == (2,)
    tables = ("wallets", "deposits", "investments", "partner_orders", "investment_state_logs")
    for table in (*tables, "token_vault"):
        content = str(database.execute(f"SELECT {table}::text FROM {table}").fetchall())
        for value in ("DE02120300000000202051", REFERENCES[7], "früh", "P-1"):
            assert value not in content, table
    with pytest.raises(psycopg.errors.UniqueViolation, match="deposits_reference"):
        database.execute(
            "INSERT INTO deposits SELECT gen_random_uuid(), user_id, amount_minor, currency,"
            " created_at, reference_index, reference_token FROM deposits LIMIT 1"
        )

    [erased] = database.execute(
        "DELETE FROM token_vault WHERE subject_id = (SELECT max(id::text) FROM deposits)"
        " RETURNING token"
    ).fetchone()
    runner.downgrade(engine, "042")
    assert database.execute(COLUMNS).fetchall() == columns
    back = database.execute(PLAIN).fetchone()
    assert (back[0], *back[2:]) == (before[0], *before[2:])
    assert back[1][:-1] == before[1][:-1]
    assert f"erased:{erased}" in back[1][-1]
    assert database.execute("SELECT to_regclass('token_vault')").fetchone() == (None,)

    runner.upgrade(engine, "head")
    assert database.execute(COLUMNS).fetchall() == after
    total = database.execute("SELECT count(*) FROM token_vault").fetchone()
    assert total == (sum(counts.values()),)
