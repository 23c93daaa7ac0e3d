"""Investments: create, accept for execution, cancel; all within the caller's transaction."""

from collections.abc import Mapping
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from . import flags, jobs, ledger, wallets
from .auth import Principal
from .errors import Problem
from .idempotency import Answer
from .paths import PREFIX
from .vault import METADATA, Vault

_CREATE = text("""
WITH created AS (
    INSERT INTO investments
        (id, user_id, instrument, amount_minor, currency, metadata_token, state, idempotency_key)
    VALUES (:id, :user_id, :instrument, :amount_minor, :currency, :metadata_token, 'PENDING', :key)
    RETURNING id
)
INSERT INTO investment_state_logs (investment_id, to_state) SELECT id, 'PENDING' FROM created""")

_LOCK = text("""
SELECT id, user_id, instrument, amount_minor, currency, state FROM investments
WHERE id = :id FOR UPDATE""")

_MOVE = text("""
WITH moved AS (
    UPDATE investments SET state = :to_state, updated_at = clock_timestamp(),
        executed_minor = coalesce(:executed_minor, executed_minor)
    FROM (SELECT id AS old_id, state AS old_state FROM investments WHERE id = :id) AS old
    WHERE id = old_id
    RETURNING id, old_state
)
INSERT INTO investment_state_logs (investment_id, from_state, to_state, reason, evidence)
SELECT id, old_state, :to_state, :reason, :evidence FROM moved""")

_FIND_JOB = text("SELECT id FROM jobs WHERE kind = 'execution' AND subject_id = :subject_id")


def lock(connection: Connection, investment_id: UUID) -> Row:
    """The investment, locked. Lock order everywhere: investment, job, partner order, wallet,
    accounts."""
    return connection.execute(_LOCK, {"id": investment_id}).one()


def move(
    connection: Connection,
    investment_id: UUID,
    to_state: str,
    *,
    reason: str | None = None,
    evidence: str | None = None,
    executed_minor: int | None = None,
) -> None:
    """Change the state of a locked investment and log it; the schema refuses illegal edges."""
    values = {"id": investment_id, "to_state": to_state, "executed_minor": executed_minor}
    connection.execute(_MOVE, values | {"reason": reason, "evidence": evidence})


def create(
    connection: Connection,
    principal: Principal,
    *,
    amount_minor: int,
    currency: str,
    instrument: str,
    metadata: str | None,
    key: str,
    vault: Vault,
) -> Answer:
    """A new investment moves no money: it waits for its execution."""
    flags.require(connection, principal.user_id, flags.MASTER)
    wallet = wallets.lock(connection, principal.user_id)
    if wallet.currency != currency:
        return Answer.refusal("currency-mismatch", f"The wallet is in {wallet.currency}.")
    if refused := wallets.refusal_if_closed(wallet):
        return refused
    investment_id = uuid4()
    token = vault.tokenise(connection, purpose=METADATA, subject_id=investment_id, value=metadata)
    investment = {
        "id": investment_id,
        "user_id": principal.user_id,
        "amount_minor": amount_minor,
        "currency": currency,
        "instrument": instrument,
    }
    connection.execute(_CREATE, investment | {"metadata_token": token, "key": key})
    document = _document(investment, "PENDING") | {"job_id": None}
    return Answer.of(201, document, location=f"{PREFIX}/investments/{investment_id}")


def _document(investment: Mapping[str, object], state: str) -> dict[str, object]:
    return {
        "investment_id": str(investment["id"]),
        "user_id": str(investment["user_id"]),
        "amount_minor": str(investment["amount_minor"]),
        "currency": investment["currency"],
        "instrument": investment["instrument"],
        "state": state,
    }


def _lock_own(connection: Connection, principal: Principal, investment_id: UUID) -> Row:
    row = connection.execute(_LOCK, {"id": investment_id}).one_or_none()
    if row is None or not (principal.is_admin or row.user_id == principal.user_id):
        raise Problem("not-found", "There is no such investment, or it is not yours.")
    return row


def _find_job_id(connection: Connection, investment_id: UUID) -> UUID:
    return connection.execute(_FIND_JOB, {"subject_id": str(investment_id)}).scalar_one()


def accept(connection: Connection, principal: Principal, investment_id: UUID) -> Answer:
    """Accept an execution: hold the money, write the job and its message."""
    investment = _lock_own(connection, principal, investment_id)
    flags.require(connection, investment.user_id, flags.EXECUTION, flags.EXTERNAL)
    if investment.state == "CANCELLED":
        return Answer.refusal("not-executable", "The investment was cancelled.")
    if investment.state != "PENDING":
        job_id = _find_job_id(connection, investment_id)
        return Answer.refusal(
            "already-accepted",
            "The investment was accepted for execution by another request.",
            **jobs.address(job_id),
        )
    if refused := wallets.refusal_if_closed(wallets.lock(connection, investment.user_id)):
        return refused
    wallet, hold = ledger.wallet(investment.user_id), ledger.hold(investment_id)
    ledger.ensure_accounts(connection, [hold], currency=investment.currency)
    balances = ledger.lock_accounts(connection, [wallet, hold])
    amount = investment.amount_minor
    if balances[wallet] < amount:
        return Answer.refusal(
            "insufficient-funds", "The wallet holds less than the amount of the investment."
        )
    ledger.post(
        connection,
        kind="hold",
        subject_id=str(investment_id),
        currency=investment.currency,
        legs=[ledger.debit(wallet, amount), ledger.credit(hold, amount)],
    )
    move(connection, investment_id, "QUEUED")
    return jobs.enqueue(
        connection, kind="execution", subject_id=str(investment_id), user_id=investment.user_id
    )


def cancel(connection: Connection, principal: Principal, investment_id: UUID) -> Answer:
    """Cancel what no partner can have seen: before execution, or queued without an order."""
    investment = _lock_own(connection, principal, investment_id)
    if investment.state == "QUEUED":
        # Without an intent no partner can have seen it: the intent moves it to EXECUTING.
        job_id = _find_job_id(connection, investment_id)
        jobs.lock(connection, job_id)
        release(connection, investment)
        jobs.move(connection, job_id, "FAILED", reason="cancelled", fence_step=1)
    elif investment.state != "PENDING":
        return Answer.refusal(
            "not-cancellable", f"The investment is {investment.state.lower()} already."
        )
    move(connection, investment_id, "CANCELLED", reason="requested")
    document = _document(investment._mapping, "CANCELLED")
    return Answer.of(200, document, counted=investment.user_id)


def release(connection: Connection, investment: Row, *, fence: int | None = None) -> None:
    """Give the held money back to the wallet."""
    wallet, hold = ledger.wallet(investment.user_id), ledger.hold(investment.id)
    amount = investment.amount_minor
    ledger.lock_accounts(connection, [wallet, hold])
    ledger.post(
        connection,
        kind="release",
        subject_id=str(investment.id),
        currency=investment.currency,
        legs=[ledger.debit(hold, amount), ledger.credit(wallet, amount)],
        fence=fence,
    )
