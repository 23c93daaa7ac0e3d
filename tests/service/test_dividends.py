"""Dividends: one batch for an event, every holder paid once, whatever happens on the way."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psutil
import psycopg
import pytest

from tests.service.rollout import bucket, salt_of

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"
DIVIDENDS = "dividend_distribution_enabled"
WAIT_SECONDS = 30


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.02)


@dataclass
class Dividends:
    """An instrument of its own, and administrators that have not used up their hour."""

    service: object
    database: psycopg.Connection
    instrument: str

    def admin(self) -> str:
        token, admin_id = secrets.token_urlsafe(32), uuid4()
        self.database.execute("INSERT INTO users (id, role) VALUES (%s, 'admin')", (admin_id,))
        self.database.execute(
            "INSERT INTO api_tokens (token_hash, user_id) VALUES (%s, %s)",
            (hashlib.sha256(token.encode()).digest(), admin_id),
        )
        return token

    def holder(self, *amounts: int) -> tuple[object, list[str]]:
        """A user who invested these amounts in the instrument over HTTP, and whose wallet is empty
        since; and the investments."""
        user = self.service.user(sum(amounts))
        ids = []
        for amount in amounts:
            body = {
                "amount_minor": str(amount),
                "currency": "EUR",
                "instrument": self.instrument,
            }
            reply = self.service.send("POST", f"{PREFIX}/investments", body, token=user.token)
            ids.append(reply.document["investment_id"])
            job = self.service.finish(self.service.execute(user, ids[-1]))
            assert job["state"] == "SUCCEEDED", job
        return user, ids

    def many_holders(self, count: int) -> str:
        """So many executed investments, put into the database for the sake of time; the first."""
        ids = [uuid4() for _ in range(count)]
        self.database.execute(
            """
WITH holder AS (
    SELECT id, ordinal FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS t (id, ordinal)
), account AS (
    INSERT INTO ledger_accounts (id, currency, normal_side, balance_minor)
    SELECT 'L:WALLET:' || id, 'EUR', 'C', 0 FROM holder
), owner AS (
    INSERT INTO users (id, role) SELECT id, 'user' FROM holder
), wallet AS (
    INSERT INTO wallets (user_id, currency, account_id)
    SELECT id, 'EUR', 'L:WALLET:' || id FROM holder
)
INSERT INTO investments (id, user_id, instrument, amount_minor, currency, state, idempotency_key)
SELECT id, id, %(instrument)s, ordinal, 'EUR', 'PENDING', 'made' FROM holder""",
            {"ids": ids, "instrument": self.instrument},
        )
        for state in ("QUEUED", "EXECUTING", "EXECUTED"):
            self.database.execute(
                "UPDATE investments SET state = %s, executed_minor = amount_minor"
                " WHERE instrument = %s",
                (state, self.instrument),
            )
        return str(ids[0])

    def declare(self, investment_id: str, total_minor: int, **changes: str) -> object:
        options = {"token": changes.pop("token", None) or self.admin()}
        if "key" in changes:
            options["key"] = changes.pop("key")
        body = {
            "dividend_event_id": str(uuid4()),
            "total_minor": str(total_minor),
            "currency": "EUR",
        }
        path = f"{PREFIX}/investments/{investment_id}/dividends"
        return self.service.send("POST", path, body | changes, **options)

    def batch(self, job: dict) -> dict:
        return self.service.get(f"/dividends/{job['subject_id']}")

    def paid(self, job: dict) -> dict[str, int]:
        """What the ledger says about the batch: amount by investment, each from one posting."""
        rows = self.database.execute(
            """
SELECT p.investment_id::text, e.amount_minor FROM dividend_payouts p
JOIN ledger_transactions t ON t.kind = 'div' AND t.subject_id = p.id::text
JOIN investments i ON i.id = p.investment_id
JOIN ledger_entries e ON e.tx_id = t.id AND e.account_id = 'L:WALLET:' || i.user_id
WHERE p.batch_id = %s""",
            (job["subject_id"],),
        ).fetchall()
        assert len(dict(rows)) == len(rows), "a holder was paid twice"
        return dict(rows)

    def balance(self, account_id: str) -> int | None:
        row = self.database.execute(
            "SELECT balance_minor FROM ledger_accounts WHERE id = %s", (account_id,)
        ).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        change = "UPDATE feature_flags SET enabled = %s, version = version + 1 WHERE key = %s"
        self.database.execute(change, (False, DIVIDENDS))
        try:
            yield
        finally:
            self.database.execute(change, (True, DIVIDENDS))


@pytest.fixture
def dividends(service, database) -> Dividends:
    return Dividends(service, database, f"DIV-{secrets.token_hex(6).upper()}")


def test_every_holder_gets_the_share_of_the_executed_amount(service, dividends) -> None:
    one, [first, second] = dividends.holder(100, 200)
    other, [third] = dividends.holder(300)
    pending = service.investment(service.user(10), 10)
    accepted = dividends.declare(first, 1_001)
    assert accepted.headers["Location"] == accepted.document["status_url"]
    job = service.finish(accepted)
    assert (job["kind"], job["state"]) == ("dividend", "SUCCEEDED")

    # 1001 × 100, 200, 300 of 600: 166 and 5/6, 333 and 2/3, 500 and 1/2; two units are left over.
    assert dividends.paid(job) == {first: 167, second: 334, third: 500}
    assert (service.balance(one), service.balance(other)) == (501, 500)
    batch = dividends.batch(job)
    assert (batch["state"], batch["payouts"]) == ("COMPLETED", {"POSTED": 3})
    assert dividends.balance(f"L:DIVCLR:{job['subject_id']}") == 0
    assert service.state(pending) == "PENDING"


def test_a_holder_whose_share_is_nothing_gets_no_posting(service, dividends) -> None:
    dividends.holder(1)
    _, [large] = dividends.holder(1_000)
    job = service.finish(dividends.declare(large, 2))
    assert dividends.paid(job) == {large: 2}
    assert dividends.batch(job)["payouts"] == {"POSTED": 2}


def test_one_event_is_one_batch_whatever_the_keys(service, dividends, database) -> None:
    user, [investment] = dividends.holder(50)
    event, admins = str(uuid4()), [dividends.admin() for _ in range(8)]

    def declare(number: int) -> object:
        shared = {"key": "same", "token": admins[0]} if number < 4 else {"token": admins[number]}
        return dividends.declare(investment, 77, dividend_event_id=event, **shared)

    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(declare, range(8)))
    accepted = [reply for reply in replies if reply.status == 202]
    refused = [reply for reply in replies if reply.status != 202]
    assert {(reply.status, reply.document["code"]) for reply in refused} <= {
        (409, "dividend-exists")
    }
    [job_id] = {reply.document["job_id"] for reply in replies}
    assert len({reply.content for reply in replies[:4]}) == 1
    assert len(accepted) in (1, 4)
    service.finish(accepted[0])
    assert service.balance(user) == 77
    where = "WHERE instrument = %s AND dividend_event_id = %s"
    [count] = database.execute(
        f"SELECT count(*) FROM dividend_batches {where}", (dividends.instrument, event)
    ).fetchone()
    assert count == 1


def test_what_is_refused_and_for_whom(service, dividends) -> None:
    user, [investment] = dividends.holder(50)
    assert dividends.declare(investment, 5, token=user.token).status == 403
    assert dividends.declare(str(uuid4()), 5).status == 404
    mismatch = dividends.declare(investment, 5, currency="USD")
    assert (mismatch.status, mismatch.document["code"]) == (422, "currency-mismatch")
    for total in (0, -1, 10**18):
        assert dividends.declare(investment, total).document["code"] == "validation-failed"
    lonely = service.create(service.user(), 5).document["investment_id"]
    dividends.database.execute(
        "UPDATE investments SET instrument = %s WHERE id = %s", (secrets.token_hex(8), lonely)
    )
    admin = dividends.admin()
    first, again = (
        dividends.declare(lonely, 5, token=admin, key="k", dividend_event_id="e") for _ in range(2)
    )
    assert (first.status, first.document["code"]) == (422, "no-holders")
    assert again.replayed
    assert again.content == first.content
    batch = service.finish(dividends.declare(investment, 5))["subject_id"]
    reply = service.send("GET", f"{PREFIX}/dividends/{batch}", token=user.token)
    assert reply.status == 403


def test_a_closed_wallet_takes_part_in_nothing_more(service, dividends) -> None:
    _, [first] = dividends.holder(100)
    gone, [second] = dividends.holder(100)
    pending = service.investment(gone, 1)
    close = f"{PREFIX}/wallets/{gone.user_id}/close"
    assert service.send("POST", close, token=gone.token).status == 403
    kept = service.send("POST", close)
    assert (kept.status, kept.document["code"]) == (409, "wallet-not-empty")
    assert "positions" in kept.document["detail"]
    # As if it had been closed in a race.
    dividends.database.execute(
        "UPDATE wallets SET closed_at = now() WHERE user_id = %s", (gone.user_id,)
    )

    job = service.finish(dividends.declare(first, 10))
    assert job["state"] == "SUCCEEDED"
    assert dividends.paid(job) == {first: 5}
    batch = dividends.batch(job)
    assert (batch["state"], batch["payouts"]) == ("COMPLETED", {"POSTED": 1, "UNCLAIMED": 1})
    assert dividends.balance(f"L:UNCLAIMED:{job['subject_id']}") == 5
    assert service.balance(gone) == 0
    for refused in (
        service.send("POST", close),
        service.deposit(gone, 5),
        service.create(gone, 5),
        service.execute(gone, pending),
    ):
        assert (refused.status, refused.document["code"]) == (409, "wallet-closed")


def test_a_wallet_in_use_is_not_closed(service, database) -> None:
    user, reference = service.user(), str(uuid4())
    accepted = service.deposit(user, 10, reference=reference)
    service.finish(accepted)
    close = f"{PREFIX}/wallets/{user.user_id}/close"
    full = service.send("POST", close)
    assert (full.status, full.document["code"]) == (409, "wallet-not-empty")
    # A deposit that was accepted is never refused for what became of the wallet.
    database.execute("UPDATE wallets SET closed_at = now() WHERE user_id = %s", (user.user_id,))
    again = service.deposit(user, 10, reference=reference)
    assert (again.status, again.document["code"]) == (409, "deposit-exists")
    assert again.document["job_id"] == accepted.document["job_id"]
    # Money is on its way in: whichever comes first, nothing is posted to a closed wallet.
    for _ in range(4):
        other = service.user()
        close = f"{PREFIX}/wallets/{other.user_id}/close"
        with ThreadPoolExecutor(2) as clients:
            deposit = clients.submit(service.deposit, other, 5)
            closing = clients.submit(service.send, "POST", close)
        statuses = (deposit.result().status, closing.result().status)
        assert statuses in ((202, 409), (409, 200)), statuses
        if statuses[0] == 202:
            service.finish(deposit.result())
            assert service.balance(other) == 5


def test_what_a_wallet_cannot_hold_is_set_aside(service, dividends) -> None:
    user, [investment] = dividends.holder(50)
    most = 10**18 - 1 - 50
    for total, state in ((most, "POSTED"), (1, "UNCLAIMED")):
        job = service.finish(dividends.declare(investment, total))
        assert dividends.batch(job)["payouts"] == {state: 1}
    assert service.balance(user) == most
    assert service.deposit(user, 1).document["code"] == "wallet-full"


def test_the_flag_is_rolled_out_by_instrument(service, dividends, flags) -> None:
    salt = salt_of(dividends.database, DIVIDENDS)
    names = [f"DIV-{secrets.token_hex(6).upper()}" for _ in range(2000)]
    inside = next(name for name in names if bucket(DIVIDENDS, salt, name) < 100)
    flags.set(DIVIDENDS, enabled=False, pct=0)
    order = {"action": "start", "reason": "by instrument"}
    started = service.send("PUT", f"{PREFIX}/canaries/{DIVIDENDS}", order)
    assert started.status == 200, started.content
    for name in (inside, next(name for name in names if bucket(DIVIDENDS, salt, name) >= 100)):
        dividends.instrument = name
        investment = dividends.many_holders(1)
        replies = [dividends.declare(investment, 5) for _ in range(2)]
        assert {reply.status for reply in replies} == {202 if name == inside else 403}
        for reply in replies if name == inside else ():
            service.finish(reply)
    [seen] = [c for c in service.get("/canaries")["canaries"] if c["flag"] == DIVIDENDS]
    assert (seen["figures"]["jobs"], seen["figures"]["succeeded"]) == (2, 2)


def test_killed_and_switched_off_in_the_middle_each_is_paid_once(
    service, dividends, stack
) -> None:
    count, total = 150, 100_000
    investment = dividends.many_holders(count)
    accepted = dividends.declare(investment, total)

    def job() -> dict:
        return service.get(f"/jobs/{accepted.document['job_id']}")

    def pending() -> int:
        return dividends.batch(job())["payouts"].get("PENDING", 0)

    until(lambda: pending() < count - 10, "ten payouts")
    pid = next(p.pid for p in stack.stack.processes() if p.name == "worker")
    for child in psutil.Process(pid).children(recursive=True):
        child.kill()
    left = pending()
    assert left > 0, "the worker was too fast to be killed in the middle"

    with dividends.switched_off():
        refused = dividends.declare(investment, 5)
        assert (refused.status, refused.document["code"]) == (403, "feature-disabled")
        until(lambda: job()["state"] == "WAITING", "a batch at rest")
        assert job()["reason"] == "disabled"
        # The COMMIT of the one that was killed may have been on its way.
        assert pending() in (left, left - 1)
        assert dividends.batch(job())["state"] == "PAYING"
    done = service.finish(accepted)
    assert (done["state"], dividends.batch(done)["payouts"]) == ("SUCCEEDED", {"POSTED": count})
    paid = dividends.paid(done)
    assert (len(paid), sum(paid.values())) == (count, total)
    # The attempt that was killed and the one that paid the rest: what the flag stopped is none.
    [counted] = dividends.database.execute(
        "SELECT attempts - unsent FROM jobs WHERE id = %s", (done["job_id"],)
    ).fetchone()
    assert counted == 2
