"""The laws are in the schema: what the code must not do, PostgreSQL refuses.

And the service does not run on a database that would not refuse it. What G7, G8, G9 and G12 say is
code; the tests that hold them are named at the end.
"""

import json
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import urllib3

from tests.service.scratch import SOURCE, Beside, Scratch

pytestmark = [pytest.mark.stack, pytest.mark.long]


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


def payout(database, executed: str) -> tuple[UUID, str]:
    """A batch with one payout, as SQL that a test rolls back."""
    batch = uuid4()
    insert = f"""INSERT INTO dividend_batches
            (id, instrument, dividend_event_id, total_minor, currency, record_at, state)
        VALUES ('{batch}', 'FUND-G', '{batch}', 1, 'EUR', now(), 'ALLOCATED')"""
    return batch, insert


def test_g10_one_payout_of_a_holder(database, executed) -> None:
    batch, insert = payout(database, executed)
    pay = f"""INSERT INTO dividend_payouts (id, batch_id, investment_id, amount_minor, state)
        VALUES (gen_random_uuid(), '{batch}', '{executed}', 1, 'PENDING')"""
    message = refused(database, psycopg.errors.UniqueViolation, insert, pay, pay)
    assert "dividend_payouts_holder" in message


def test_g11_one_batch_of_an_event(database, executed) -> None:
    batch, insert = payout(database, executed)
    again = insert.replace(f"VALUES ('{batch}'", "VALUES (gen_random_uuid()")
    message = refused(database, psycopg.errors.UniqueViolation, insert, again)
    assert "dividend_batches_event" in message


def test_the_ledger_keeps_the_transaction_that_wrote_it(database, executed) -> None:
    [status] = database.execute(
        """SELECT pg_xact_status(xid) FROM ledger_transactions
            WHERE subject_id = %s AND kind = 'capture'""",
        (executed,),
    ).fetchone()
    assert status == "committed"


def test_no_write_waits_for_the_row_of_a_system_account(database, executed) -> None:
    """Client accounts have a cached balance behind a lock; those that all share have none."""
    counts = database.execute(
        """SELECT count(*) FILTER (WHERE left(id, 1) = 'L'), count(*) FILTER (WHERE id ~ '^[AIX]:'),
            bool_and((left(id, 1) = 'L') = (balance_minor IS NOT NULL)) FROM ledger_accounts"""
    ).fetchone()
    assert counts[0] > 0
    assert counts[2], counts
    booked = database.execute(
        "SELECT count(*) FROM ledger_entries WHERE account_id ~ '^[AI]:'"
    ).fetchone()
    assert booked[0] > 0


# -- a database without a guard -----------------------------------------------------------------


class Watched:
    """A database of its own, and an API process that looks at its guards."""

    def __init__(self, scratch: Scratch, url: str) -> None:
        self.scratch, self.url = scratch, url

    def ready(self) -> tuple[int, int]:
        """The status of the page, and how many guards it misses."""
        reply = urllib3.request("GET", f"{self.url}/readyz", retries=False)
        return reply.status, json.loads(reply.data)["database"]["guards_lacking"]

    def last_lacking(self) -> list[str]:
        events = [json.loads(line) for line in self.scratch.log("api").splitlines()]
        return [e["lacking"] for e in events if e["event"] == "guards_lacking"][-1]


@pytest.fixture
def watched(beside: Beside) -> Watched:
    return Watched(beside.scratch, beside.url)


def constraint(table: str, name: str) -> tuple[str, str]:
    which = f"CONSTRAINT {table}_{name}"
    return f"ALTER TABLE {table} DROP {which}", f"ALTER TABLE {table} ADD {which}"


def trigger(table: str, name: str) -> tuple[str, str]:
    which = f"TRIGGER {table}_{name}"
    return f"ALTER TABLE {table} DISABLE {which}", f"ALTER TABLE {table} ENABLE {which}"


TX, HELD = "ledger_transactions", "CHECK (balance_minor >= 0)"
REPLACE_G3 = (
    "ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_no_overdraft,"
    " ADD CONSTRAINT ledger_accounts_no_overdraft"
)
BALANCED = (
    "CREATE OR REPLACE FUNCTION assert_balanced(transaction_id bigint) RETURNS void"
    " LANGUAGE plpgsql AS $$"
)
MIGRATION = SOURCE / "investment/migrations/versions/041_money_core.py"
BALANCED_BODY = MIGRATION.read_text().partition("AS $$")[2].partition("$$")[0]
WEAKENED = [
    ("G1", *constraint("idempotency_keys", "scope"), "UNIQUE (user_id, route, key)"),
    ("G2", *constraint(TX, "natural_key"), "UNIQUE (kind, subject_id, step)"),
    ("G2", f"DROP INDEX {TX}_one_resolution", f"CREATE UNIQUE INDEX {TX}_one_resolution ON {TX}",
     "(subject_id) WHERE kind IN ('capture', 'release')"),
    ("G3", *constraint("ledger_accounts", "no_overdraft"), HELD),
    ("G3", f"{REPLACE_G3} {HELD} NOT ENFORCED", REPLACE_G3, HELD),
    ("G3", f"{REPLACE_G3} {HELD} NOT VALID", REPLACE_G3, HELD),
    ("G3", f"{REPLACE_G3} CHECK (balance_minor >= -100)", REPLACE_G3, HELD),
    ("G4", *trigger(TX, "balanced"), ""),
    ("G4", *trigger("ledger_entries", "balanced"), ""),
    ("G4", *trigger(TX, "append_only"), ""),
    ("G4", *trigger("ledger_entries", "append_only"), ""),
    ("G5", *trigger("investments", "transition"), ""),
    ("G5", *trigger("jobs", "transition"), ""),
    ("G2", *constraint("deposits", "reference"), "UNIQUE (reference_index)"),
    ("G2", *constraint("jobs", "subject"), "UNIQUE (kind, subject_id)"),
    ("G6", *constraint("partner_orders", "investment"), "UNIQUE (investment_id)"),
    ("G6", *constraint("partner_orders", "client_order_id"), "UNIQUE (client_order_id)"),
    ("G10", *constraint("dividend_payouts", "holder"), "UNIQUE (batch_id, investment_id)"),
    ("G11", *constraint("dividend_batches", "event"),
     "UNIQUE (instrument, dividend_event_id)"),
    ("G4", f"{BALANCED} BEGIN END $$", BALANCED, f"{BALANCED_BODY}$$"),
    ("G4", "ALTER FUNCTION assert_balanced SET search_path = pg_temp",
     "ALTER FUNCTION assert_balanced RESET search_path", ""),
    ("least privilege", "GRANT UPDATE (amount_minor) ON ledger_entries TO investment_app",
     "REVOKE UPDATE (amount_minor) ON ledger_entries FROM investment_app", ""),
    ("least privilege", "GRANT DELETE ON ledger_transactions TO investment_app",
     "REVOKE DELETE ON ledger_transactions FROM investment_app", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("guard", "weaken", "restore", "law"), WEAKENED, ids=[w[1][:60] for w in WEAKENED]
)
def test_a_guard_that_is_gone_is_noticed(
    watched: Watched, guard: str, weaken: str, restore: str, law: str
) -> None:
    assert watched.ready() == (200, 0)
    with watched.scratch.connect() as owner:
        owner.execute(weaken)
        try:
            assert watched.ready() == (503, 1)
            [lacking] = watched.last_lacking()
            assert lacking.startswith(guard)
        finally:
            owner.execute(f"{restore}{law}" if "$$" in law else f"{restore} {law}")
    assert watched.ready() == (200, 0)


def test_without_a_guard_nothing_is_written_and_no_process_starts(
    watched: Watched, connect
) -> None:  # noqa: ANN001
    service = connect([watched.url], watched.scratch.environment["INVESTMENT_ADMIN_TOKEN"])
    weaken, restore = trigger("ledger_entries", "balanced")
    body = {"currency": "EUR", "token": "t" * 40}
    with watched.scratch.connect() as owner:
        owner.execute(weaken)
        try:
            assert watched.ready()[0] == 503
            refusal = service.send("POST", "/api/v1/investment/users", body)
            assert (refusal.status, refusal.document["code"]) == (503, "unavailable")
            for process in ("worker", "relay", "sweeper"):
                ended = watched.scratch.run(process, owner=False)
                assert ended.returncode != 0
                for part in ("lacks a guard", "G4", "investment_app", "docs/recovery/database.md"):
                    assert part in ended.stderr, f"{process}: {ended.stderr}"
        finally:
            owner.execute(restore)
    # The write itself looks again.
    assert service.send("POST", "/api/v1/investment/users", body).status == 201


HELD_BY_CODE = {
    "G7": "tests/service/test_partner_outage.py::"
    "test_at_the_horizon_a_person_is_asked_and_the_partners_return_still_ends_it",
    "G8": "tests/service/test_processes_die.py::test_a_worker_that_lost_its_lease_writes_nothing",
    "G9": "tests/service/test_partner_outage.py::"
    "test_a_lost_message_is_sent_again_while_the_partner_hangs",
    "G12": "tests/service/test_one_lost_reply.py::"
    "test_an_order_whose_reply_is_lost_is_executed_once",
}


@pytest.mark.parametrize("guard", HELD_BY_CODE)
def test_what_is_code_is_held_by_a_test(guard: str) -> None:
    name, _, test = HELD_BY_CODE[guard].partition("::")
    assert f"def {test}(" in (Path(__file__).parents[2] / name).read_text()
