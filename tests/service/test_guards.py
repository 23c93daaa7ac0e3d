"""The laws are in the schema: what the code must not do, PostgreSQL refuses."""

from uuid import UUID, uuid4

import psycopg
import pytest

pytestmark = pytest.mark.stack


@pytest.fixture
def executed(service) -> str:
    user = service.user(100)
    investment_id = service.investment(user, 40)
    service.finish(service.execute(user, investment_id))
    return investment_id


def refused(database, error: type[psycopg.Error], *statements: str, **values: object) -> str:
    """Run the statements in one transaction that PostgreSQL must refuse; rolled back anyway."""

    def attempt() -> None:
        with database.transaction(force_rollback=True):
            for statement in (*statements, "SET CONSTRAINTS ALL IMMEDIATE"):
                database.execute(statement, values)

    with pytest.raises(error) as raised:
        attempt()
    return str(raised.value)


def test_g1_one_claim_of_a_key(database, executed) -> None:
    copy = """INSERT INTO idempotency_keys (user_id, route, key, fingerprint)
        SELECT user_id, route, key, fingerprint FROM idempotency_keys LIMIT 1"""
    assert "idempotency_keys_scope" in refused(database, psycopg.errors.UniqueViolation, copy)


@pytest.mark.parametrize("kind", ["hold", "capture"])
def test_g2_one_posting_of_a_kind(database, executed, kind: str) -> None:
    copy = """INSERT INTO ledger_transactions (kind, subject_id, currency)
        VALUES (%(kind)s, %(id)s, 'EUR')"""
    refused(database, psycopg.errors.UniqueViolation, copy, kind=kind, id=executed)


def test_g2_no_release_after_a_capture(database, executed) -> None:
    release = """INSERT INTO ledger_transactions (kind, subject_id, currency)
        VALUES ('release', %(id)s, 'EUR')"""
    message = refused(database, psycopg.errors.UniqueViolation, release, id=executed)
    assert "one_resolution" in message


def test_g3_no_overdraft(database, executed) -> None:
    debit = "UPDATE ledger_accounts SET balance_minor = -1 WHERE id = %(id)s"
    message = refused(database, psycopg.errors.CheckViolation, debit, id=f"L:HOLD:{executed}")
    assert "no_overdraft" in message


def test_g4_no_unbalanced_transaction(database, executed) -> None:
    header = """INSERT INTO ledger_transactions (kind, subject_id, currency)
        VALUES ('deposit', %(ref)s, 'EUR')"""
    one_leg = """INSERT INTO ledger_entries (tx_id, account_id, direction, amount_minor)
        SELECT max(id), 'A:CASH:EUR', 'D', 5 FROM ledger_transactions"""
    for statements in ((header,), (header, one_leg), (one_leg,)):
        message = refused(database, psycopg.errors.CheckViolation, *statements, ref=str(uuid4()))
        assert "not balanced" in message


def test_the_ledger_is_append_only(database, executed) -> None:
    for statement in (
        "UPDATE ledger_entries SET amount_minor = amount_minor + 1",
        "DELETE FROM ledger_entries",
        "UPDATE ledger_transactions SET kind = 'rev'",
    ):
        assert "append-only" in refused(database, psycopg.errors.CheckViolation, statement)


@pytest.mark.parametrize("state", ["PENDING", "QUEUED", "EXECUTING", "FAILED", "CANCELLED"])
def test_g5_no_way_out_of_a_terminal_state(database, executed, state: str) -> None:
    change = "UPDATE investments SET state = %(state)s WHERE id = %(id)s"
    message = refused(
        database, psycopg.errors.CheckViolation, change, state=state, id=UUID(executed)
    )
    assert "illegal investment transition" in message


def test_g5_jobs_too(database, executed) -> None:
    change = "UPDATE jobs SET state = 'RUNNING', fence = fence + 1 WHERE subject_id = %(id)s"
    message = refused(database, psycopg.errors.CheckViolation, change, id=executed)
    assert "illegal job transition" in message


def test_g6_one_partner_order(database, executed) -> None:
    copy = """INSERT INTO partner_orders
            (investment_id, client_order_id, status, fence, payload_hash)
        VALUES (%(id)s, %(other)s, 'SENT', 1, '')"""
    message = refused(
        database, psycopg.errors.UniqueViolation, copy, id=UUID(executed), other=uuid4()
    )
    assert "partner_orders_investment" in message


def test_the_ledger_keeps_the_transaction_that_wrote_it(database, executed) -> None:
    [status] = database.execute(
        """SELECT pg_xact_status(xid) FROM ledger_transactions
            WHERE subject_id = %s AND kind = 'capture'""",
        (executed,),
    ).fetchone()
    assert status == "committed"
