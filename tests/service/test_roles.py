"""The service's processes log in with the fewest rights: what they need, and no more."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

pytestmark = pytest.mark.stack

APPEND_ONLY = (
    "ledger_transactions",
    "ledger_entries",
    "investment_state_logs",
    "job_state_logs",
    "flag_audits",
    "deposits",
    "partner_events",
)
NOT_ITS_BUSINESS = (
    "CREATE TABLE own_table (id integer)",
    "CREATE SCHEMA own_schema",
    "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_balanced",
    "ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_no_overdraft",
    "DROP INDEX ledger_transactions_one_resolution",
    "DROP TABLE flag_audits",
    "SET session_replication_role = replica",
    "UPDATE alembic_version SET version_num = '041'",
    "UPDATE users SET role = 'admin'",
    "CREATE ROLE another LOGIN",
    "ALTER ROLE investment_app SUPERUSER",
    "COPY users TO PROGRAM 'true'",
)


@pytest.fixture
def as_app(stack) -> Iterator[psycopg.Connection]:  # noqa: ANN001
    """The database as the processes see it; the link's own address says with which role."""
    [link] = [k for k in stack.target.spec.links if k.name == "worker-postgres"]
    assert "//investment_app:" in link.value
    dsn = make_conninfo(stack.postgres_dsn, user="investment_app")
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def refused(connection: psycopg.Connection, statement: str) -> None:
    """Not allowed, whatever is in the table; undone if it were."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run_and_undo(connection, statement)


def run_and_undo(connection: psycopg.Connection, statement: str) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(statement)


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_happened_cannot_be_changed(as_app, table: str) -> None:  # noqa: ANN001
    columns = as_app.execute(
        """SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'
        AND table_name = %s AND is_generated = 'NEVER' AND is_identity = 'NO'""",
        (table,),
    ).fetchall()
    assert columns
    for (column,) in columns:
        refused(as_app, f"UPDATE {table} SET {column} = {column}")
    refused(as_app, f"DELETE FROM {table}")
    refused(as_app, f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize("statement", NOT_ITS_BUSINESS)
def test_nor_can_the_rules(as_app, statement: str) -> None:  # noqa: ANN001
    refused(as_app, statement)


def test_the_role_is_nobody_special(as_app) -> None:  # noqa: ANN001
    row = as_app.execute(
        """SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication
            OR rolbypassrls, (SELECT count(*) FROM pg_auth_members WHERE member = r.oid),
            (SELECT count(*) FROM pg_class WHERE relowner = r.oid)
        FROM pg_roles r WHERE rolname = current_user"""
    ).fetchone()
    assert row == ("investment_app", False, 0, 0)


def test_it_may_read_all_and_change_what_has_a_state(as_app) -> None:  # noqa: ANN001
    """So that the refusals above are no accident of a role that can do nothing."""
    run_and_undo(as_app, "UPDATE jobs SET updated_at = now()")
    run_and_undo(as_app, "INSERT INTO users (id, role) VALUES (gen_random_uuid(), 'user')")
    tables = as_app.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables.fetchall():
        as_app.execute(f"SELECT count(*) FROM {table}")


def test_every_process_logs_in_with_it(database, service) -> None:  # noqa: ANN001
    service.user(10)
    rows = database.execute(
        """SELECT DISTINCT application_name, usename FROM pg_stat_activity
        WHERE datname = current_database()
        AND application_name IN ('api-1', 'api-2', 'worker', 'relay', 'sweeper')"""
    ).fetchall()
    assert {role for _, role in rows} == {"investment_app"}
    assert len(rows) == 5
