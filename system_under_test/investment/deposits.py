"""Deposits: money that arrived at the bank is posted to a wallet, once per bank reference."""

from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, text

from . import db, jobs, ledger, wallets
from .idempotency import Answer
from .jobs import Claim
from .vault import DEPOSIT_REFERENCE, Place, Vault

_INSERT = text("""
INSERT INTO deposits (id, reference_token, reference_index, user_id, amount_minor, currency)
VALUES (:id, :reference_token, :reference_index, :user_id, :amount_minor, :currency)
ON CONFLICT (reference_index) DO NOTHING RETURNING id""")
_FIND_JOB = text("""
SELECT j.id FROM jobs j JOIN deposits d ON j.subject_id = CAST(d.id AS text)
WHERE j.kind = 'deposit' AND d.reference_index = :reference_index""")
_FIND = text("SELECT user_id, amount_minor, currency FROM deposits WHERE id = :id")


def request(
    connection: Connection,
    vault: Vault,
    *,
    user_id: UUID,
    amount_minor: int,
    currency: str,
    reference: str,
) -> Answer:
    """Accept a deposit: the worker will post it. Its bank reference is known by a blind index."""
    wallet = wallets.lock(connection, user_id)
    deposit = {
        "id": uuid4(),
        "reference_token": uuid4(),
        "reference_index": vault.blind_index(DEPOSIT_REFERENCE, reference),
        "user_id": user_id,
        "amount_minor": amount_minor,
        "currency": currency,
    }
    # First of all: whatever became of the wallet since, a deposit that was accepted stays accepted.
    job_id = connection.scalar(_FIND_JOB, deposit)
    if job_id is None:
        if refused := wallets.refusal_if_closed(wallet):
            return refused
        if wallet.currency != currency:
            return Answer.refusal("currency-mismatch", f"The wallet is in {wallet.currency}.")
        if not wallets.has_room(connection, user_id, amount_minor):
            detail = "All that was paid in exceeds what a wallet can hold."
            return Answer.refusal("wallet-full", detail)
        if connection.scalar(_INSERT, deposit) is not None:
            place = Place(DEPOSIT_REFERENCE, deposit["reference_token"], str(deposit["id"]))
            vault.keep(connection, place, reference)
            subject_id = str(deposit["id"])
            return jobs.enqueue(connection, kind="deposit", subject_id=subject_id, user_id=user_id)
        job_id = connection.execute(_FIND_JOB, deposit).scalar_one()
    return Answer.refusal(
        "deposit-exists",
        "A deposit with this reference was accepted by another request.",
        **jobs.address(job_id),
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

    db.run_step(engine, work, read_back=lambda c: jobs.is_past(c, claim), step="post_deposit")
