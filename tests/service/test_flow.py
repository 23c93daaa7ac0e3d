"""Money moves from a deposit to an executed investment, once and traceably."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

pytestmark = pytest.mark.stack

BALANCE_BY_ENTRIES = """
SELECT a.id, a.balance_minor,
    coalesce(sum(CASE e.direction WHEN 'C' THEN e.amount_minor ELSE -e.amount_minor END), 0)
FROM ledger_accounts a LEFT JOIN ledger_entries e ON e.account_id = a.id
WHERE a.balance_minor IS NOT NULL GROUP BY a.id"""
UNBALANCED = """
SELECT tx_id FROM ledger_entries GROUP BY tx_id
HAVING sum(CASE direction WHEN 'D' THEN amount_minor ELSE -amount_minor END) <> 0
    OR count(*) < 2"""


def postings(database, subject_id: str) -> list[str]:  # noqa: ANN001
    rows = database.execute(
        "SELECT kind FROM ledger_transactions WHERE subject_id = %s ORDER BY id", (subject_id,)
    )
    return [row[0] for row in rows]


def test_an_investment_is_executed(service, database, partner) -> None:
    user = service.user(10_000)
    investment_id = service.investment(user, 1_234)
    assert service.state(investment_id) == "PENDING"
    assert service.balance(user) == 10_000

    trace_id = secrets.token_hex(16)
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    accepted = service.execute(user, investment_id, headers={"traceparent": traceparent})
    assert accepted.headers["Location"] == accepted.document["status_url"]
    job = service.finish(accepted)

    assert (job["kind"], job["state"], job["subject_id"]) == (
        "execution",
        "SUCCEEDED",
        investment_id,
    )
    assert service.state(investment_id) == "EXECUTED"
    assert service.balance(user) == 8_766
    assert postings(database, investment_id) == ["hold", "capture"]
    assert database.execute(UNBALANCED).fetchall() == []
    [order] = partner.executed(user.user_id)
    assert (order["amount_minor"], order["traceparent"]) == ("1234", traceparent)
    for table in ("jobs", "outbox", "partner_orders", "ledger_transactions"):
        [count] = database.execute(
            f"SELECT count(*) FROM {table} WHERE traceparent = %s", (traceparent,)
        ).fetchone()
        assert count >= 1, table


def test_cached_balances_equal_the_entries(service, database) -> None:
    service.user(777)
    wrong = [row for row in database.execute(BALANCE_BY_ENTRIES) if row[1] != row[2]]
    assert wrong == []


def test_the_state_logs_tell_the_whole_way(service, database) -> None:
    user = service.user(500)
    investment_id = service.investment(user, 500)
    job = service.finish(service.execute(user, investment_id))
    way = database.execute(
        "SELECT to_state FROM investment_state_logs WHERE investment_id = %s ORDER BY id",
        (investment_id,),
    )
    assert [row[0] for row in way] == ["PENDING", "QUEUED", "EXECUTING", "EXECUTED"]
    way = database.execute(
        "SELECT to_state, fence FROM job_state_logs WHERE job_id = %s ORDER BY id", (job["job_id"],)
    ).fetchall()
    assert [row[0] for row in way] == ["PENDING", "RUNNING", "SUCCEEDED"]


def test_a_refusal_gives_the_money_back(service, database, partner) -> None:
    user = service.user(5_000)
    partner.refuse(4_321, "no liquidity")
    investment_id = service.investment(user, 4_321)
    job = service.finish(service.execute(user, investment_id))
    assert (job["state"], job["reason"]) == ("FAILED", "no liquidity")
    assert service.state(investment_id) == "FAILED"
    assert service.balance(user) == 5_000
    assert postings(database, investment_id) == ["hold", "release"]
    assert partner.executed(user.user_id) == []


def test_insufficient_funds_are_a_final_refusal(service, database) -> None:
    user = service.user(100)
    investment_id = service.investment(user, 101)
    first = service.execute(user, investment_id, key="k")
    assert (first.status, first.document["code"]) == (422, "insufficient-funds")
    again = service.execute(user, investment_id, key="k")
    assert again.replayed
    assert again.content == first.content
    assert service.state(investment_id) == "PENDING"
    assert postings(database, investment_id) == []


def test_a_deposit_is_posted_once_for_its_reference(service) -> None:
    user = service.user()
    first = service.deposit(user, 250, reference=f"bank-{user.user_id}")
    other = service.deposit(user, 250, reference=f"bank-{user.user_id}")
    assert (other.status, other.document["code"]) == (409, "deposit-exists")
    assert other.document["job_id"] == first.document["job_id"]
    service.finish(first)
    assert service.balance(user) == 250


def test_a_deposit_that_no_wallet_can_hold_is_refused_at_once(service, database) -> None:
    user = service.user()
    assert service.deposit(user, 10**15).document["code"] == "validation-failed"
    # As if a thousand of the largest deposits had come in before.
    database.execute(
        "INSERT INTO deposits"
        " (id, reference_token, reference_index, user_id, amount_minor, currency)"
        " VALUES (%s, gen_random_uuid(), %s, %s, %s, 'EUR')",
        (uuid4(), secrets.token_bytes(32), user.user_id, 10**18 - 11),
    )
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(lambda _: service.deposit(user, 3), range(8)))
    refused = [reply for reply in replies if reply.status == 422]
    assert {reply.document["code"] for reply in refused} == {"wallet-full"}
    accepted = [reply for reply in replies if reply.status == 202]
    assert (len(accepted), len(refused)) == (3, 5)
    assert [service.finish(reply)["state"] for reply in accepted] == ["SUCCEEDED"] * 3
    assert service.balance(user) == 9


FORGOTTEN = """
WITH deposit AS (
    INSERT INTO deposits (id, reference_token, reference_index, user_id, amount_minor, currency)
    VALUES (%(job)s, gen_random_uuid(), %(index)s, %(user)s, 5, 'EUR')
), job AS (
    INSERT INTO jobs (id, kind, subject_id, user_id, state)
    VALUES (%(job)s, 'deposit', %(job)s, %(user)s, 'PENDING') RETURNING id
)
INSERT INTO outbox (id, job_id, status, published_at)
SELECT id, id, 'published', now() + interval '1 hour' FROM job"""
LEASED = "state = 'RUNNING', fence = 1, attempts = 1, lease_until = now() + interval '1 hour'"
DELAYED = "state = 'WAITING', lease_until = NULL, next_run_at = now() + interval '1 hour'"


@pytest.mark.parametrize("steps", [[], [LEASED], [LEASED, DELAYED]], ids=len)
def test_a_clock_that_goes_back_stops_no_job(service, database, steps: list[str]) -> None:
    """Of before it went back: when the message was published, a lease, a delay."""
    user, job = service.user(), uuid4()
    values = {"job": job, "user": user.user_id, "index": secrets.token_bytes(32)}
    with database.transaction():
        database.execute(FORGOTTEN, values)
        for step in steps:
            database.execute(f"UPDATE jobs SET {step} WHERE id = %s", [job])
    deadline = time.monotonic() + 20
    while (state := service.get(f"/jobs/{job}")["state"]) != "SUCCEEDED":
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    assert service.balance(user) == 5


def test_a_pending_investment_can_be_cancelled_and_then_not_executed(service) -> None:
    user = service.user(100)
    investment_id = service.investment(user, 50)
    assert service.cancel(user, investment_id).document["state"] == "CANCELLED"
    refused = service.execute(user, investment_id)
    assert (refused.status, refused.document["code"]) == (409, "not-executable")


def test_an_executed_investment_cannot_be_cancelled(service) -> None:
    user = service.user(100)
    investment_id = service.investment(user, 50)
    service.finish(service.execute(user, investment_id))
    refused = service.cancel(user, investment_id)
    assert (refused.status, refused.document["code"]) == (409, "not-cancellable")
    assert service.balance(user) == 50


def test_an_empty_wallet_is_closed_and_told_alike_by_both_answers(service) -> None:
    user = service.user()
    closed = service.send("POST", f"/api/v1/investment/wallets/{user.user_id}/close")
    assert closed.status == 200
    assert closed.document["closed_at"]
    assert closed.document == service.get(f"/wallets/{user.user_id}")
