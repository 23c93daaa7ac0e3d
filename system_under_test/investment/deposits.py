"""Deposits: money that arrived at the bank is posted to a wallet, once per bank reference."""

from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, text

from . import db, jobs, ledger
from .errors import Problem
from .idempotency import Answer
from .jobs import Claim
from .money import MAX_AMOUNT_MINOR
from .paths import status_url

# Deposits to one wallet wait for each other here, without hindering what refers to the wallet.
_LOCK_WALLET = text("""
SELECT currency FROM wallets WHERE user_id = :user_id FOR NO KEY UPDATE""")
_SUM_OTHERS = text("""
SELECT coalesce(sum(amount_minor), 0) FROM deposits
WHERE user_id = :user_id AND reference <> :reference""")
_INSERT = text("""
INSERT INTO deposits (id, reference, user_id, amount_minor, currency)
VALUES (:id, :reference, :user_id, :amount_minor, :currency)
ON CONFLICT (reference) DO NOTHING RETURNING id""")
_FIND_JOB = text("""
SELECT j.id FROM jobs j JOIN deposits d ON j.subject_id = CAST(d.id AS text)
WHERE j.kind = 'deposit' AND d.reference = :reference""")
_FIND = text("SELECT user_id, amount_minor, currency FROM deposits WHERE id = :id")


def request(
    connection: Connection, *, user_id: UUID, amount_minor: int, currency: str, reference: str
) -> Answer:
    """Accept a deposit: the worker will post it.

    A wallet never holds more than was deposited to it, so the deposits are what is bounded: no
    accepted one can fail for the size of the balance.
    """
    wallet = connection.execute(_LOCK_WALLET, {"user_id": user_id}).one_or_none()
    if wallet is None:
        raise Problem("not-found", "There is no such wallet.")
    if wallet.currency != currency:
        return Answer.refusal("currency-mismatch", f"The wallet is in {wallet.currency}.")
    deposit = {
        "id": uuid4(),
        "reference": reference,
        "user_id": user_id,
        "amount_minor": amount_minor,
        "currency": currency,
    }
    if connection.execute(_SUM_OTHERS, deposit).scalar_one() + amount_minor > MAX_AMOUNT_MINOR:
        return Answer.refusal("wallet-full", "All deposits together exceed what a wallet can hold.")
    if connection.execute(_INSERT, deposit).one_or_none() is None:
        job_id = connection.execute(_FIND_JOB, {"reference": reference}).scalar_one()
        return Answer.refusal(
            "deposit-exists",
            "A deposit with this reference was accepted by another request.",
            job_id=str(job_id),
            status_url=status_url(job_id),
        )
    job_id = jobs.enqueue(
        connection, kind="deposit", subject_id=str(deposit["id"]), user_id=user_id
    )
    return Answer.of(
        202, {"job_id": str(job_id), "status_url": status_url(job_id)}, location=status_url(job_id)
    )


def post(engine: Engine, claim: Claim) -> None:
    """Post the claimed deposit and end its job, in one transaction."""

    def work(connection: Connection) -> bool:
        if not jobs.holds(connection, claim):
            return False
        deposit = connection.execute(_FIND, {"id": UUID(claim.subject_id)}).one()
        wallet, cash = ledger.wallet(deposit.user_id), ledger.cash(deposit.currency)
        ledger.lock_accounts(connection, [wallet])
        ledger.post(
            connection,
            kind="deposit",
            subject_id=claim.subject_id,
            currency=deposit.currency,
            legs=[
                ledger.debit(cash, deposit.amount_minor),
                ledger.credit(wallet, deposit.amount_minor),
            ],
            fence=claim.fence,
        )
        jobs.move(connection, claim.job_id, "SUCCEEDED")
        return True

    def find(connection: Connection) -> bool | None:
        return jobs.is_past(connection, claim)

    db.run_step(engine, work, read_back=find, step="post_deposit")
