"""Dividends: what each holder gets is fixed first; then a worker pays holder by holder."""

from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Row, text

from . import db, flags, jobs, ledger, logs, wallets
from .auth import Principal
from .errors import Problem
from .idempotency import Answer
from .jobs import Claim
from .settings import Settings

H = TypeVar("H", UUID, int, str)

_FIND_INVESTMENT = text("SELECT instrument, currency FROM investments WHERE id = :id")
_FIND_HOLDERS = text("""
SELECT id, executed_minor FROM investments
WHERE instrument = :instrument AND currency = :currency AND state = 'EXECUTED'""")
_INSERT_BATCH = text("""
INSERT INTO dividend_batches
    (id, instrument, dividend_event_id, total_minor, currency, record_at, state)
VALUES (:id, :instrument, :dividend_event_id, :total_minor, :currency, now(), 'ALLOCATED')
ON CONFLICT (instrument, dividend_event_id) DO NOTHING RETURNING id""")
_INSERT_PAYOUTS = text("""
INSERT INTO dividend_payouts (id, batch_id, investment_id, amount_minor, state)
SELECT payout_id, :batch_id, investment_id, amount_minor, 'PENDING'
FROM unnest(CAST(:payout_ids AS uuid[]), CAST(:investment_ids AS uuid[]),
    CAST(:amounts AS bigint[])) AS payout(payout_id, investment_id, amount_minor)""")
_FIND_JOB = text("""
SELECT j.id FROM jobs j JOIN dividend_batches b ON j.subject_id = CAST(b.id AS text)
WHERE j.kind = 'dividend' AND b.instrument = :instrument
AND b.dividend_event_id = :dividend_event_id""")

_FIND_NEXT = text("""
SELECT p.id, p.batch_id, p.amount_minor, i.user_id, b.currency
FROM dividend_payouts p JOIN dividend_batches b ON b.id = p.batch_id
JOIN investments i ON i.id = p.investment_id
WHERE p.batch_id = :batch_id AND p.state = 'PENDING' LIMIT 1""")
_SETTLE_PAYOUT = text("UPDATE dividend_payouts SET state = :state WHERE id = :id")
_IS_SETTLED = text("SELECT state <> 'PENDING' FROM dividend_payouts WHERE id = :id")
_MOVE_BATCH = text("""
UPDATE dividend_batches SET state = :to_state WHERE id = :id AND state <> :to_state""")


def allocate(total_minor: int, weights: Mapping[H, int]) -> dict[H, int]:
    """Divide a sum among holders by weight, to the last unit: the method of largest remainders.

    Each gets the whole units of the exact share; the units left over go to the largest
    remainders, of equal ones to the smaller holder id. Integers only, and independent of order.
    """
    total_weight = sum(weights.values())
    shares = {holder: divmod(total_minor * w, total_weight) for holder, w in weights.items()}
    left_over = total_minor - sum(units for units, _ in shares.values())
    by_remainder = sorted(shares, key=lambda holder: (-shares[holder][1], holder))
    favoured = set(by_remainder[:left_over])
    return {holder: units + (holder in favoured) for holder, (units, _) in shares.items()}


def declare(
    connection: Connection,
    principal: Principal,
    investment_id: UUID,
    *,
    dividend_event_id: str,
    total_minor: int,
    currency: str,
) -> Answer:
    """Accept the dividend of an investment's instrument: fix who gets what, take in the money."""
    investment = connection.execute(_FIND_INVESTMENT, {"id": investment_id}).one_or_none()
    if investment is None:
        raise Problem("not-found", "There is no such investment.")
    flags.require(connection, investment.instrument, flags.DIVIDENDS)
    if investment.currency != currency:
        return Answer.refusal("currency-mismatch", f"The investment is in {investment.currency}.")
    batch = {
        "id": uuid4(),
        "instrument": investment.instrument,
        "dividend_event_id": dividend_event_id,
        "total_minor": total_minor,
        "currency": currency,
    }
    holders = {row.id: row.executed_minor for row in connection.execute(_FIND_HOLDERS, batch)}
    if not holders:
        return Answer.refusal("no-holders", "Nobody holds the instrument in this currency.")
    if connection.execute(_INSERT_BATCH, batch).one_or_none() is None:
        job_id = connection.execute(_FIND_JOB, batch).scalar_one()
        return Answer.refusal(
            "dividend-exists",
            "This dividend of the instrument was declared by another request.",
            **jobs.address(job_id),
        )
    amounts = allocate(total_minor, holders)
    payouts = {
        "batch_id": batch["id"],
        "payout_ids": [uuid4() for _ in amounts],
        "investment_ids": list(amounts),
        "amounts": list(amounts.values()),
    }
    connection.execute(_INSERT_PAYOUTS, payouts)
    cash, clearing = ledger.cash(currency), ledger.clearing(batch["id"])
    ledger.ensure_accounts(connection, [cash, clearing], currency=currency)
    ledger.lock_accounts(connection, [clearing])
    ledger.post(
        connection,
        kind="divin",
        subject_id=str(batch["id"]),
        currency=currency,
        legs=[ledger.debit(cash, total_minor), ledger.credit(clearing, total_minor)],
    )
    return jobs.enqueue(
        connection, kind="dividend", subject_id=str(batch["id"]), user_id=principal.user_id
    )


def pay(engine: Engine, claim: Claim, *, settings: Settings) -> None:
    """Pay the claimed batch, one payout a transaction, until it is complete or has to wait."""
    while _pay_next(engine, claim, settings=settings):
        pass


def _pay_next(engine: Engine, claim: Claim, *, settings: Settings) -> bool:
    """Settle one payout, or the whole batch when none is left; True while there may be more."""
    batch_id, attempted = UUID(claim.subject_id), None

    def work(connection: Connection) -> bool:
        nonlocal attempted
        if not jobs.holds(connection, claim):
            return False
        payout = connection.execute(_FIND_NEXT, {"batch_id": batch_id}).one_or_none()
        if payout is None:
            _complete(connection, claim)
            return False
        if not flags.is_enabled(connection, flags.DIVIDENDS):
            # Not an attempt: while the flag is off the batch rests, however long that is.
            jobs.spend(connection, claim.job_id, sent=False, settings=settings)
            delay_ms = jobs.backoff_ms(claim.attempt, settings=settings)
            jobs.move(connection, claim.job_id, "WAITING", reason="disabled", delay_ms=delay_ms)
            return False
        attempted = payout.id
        jobs.renew(connection, claim, settings=settings)
        connection.execute(_MOVE_BATCH, {"id": batch_id, "to_state": "PAYING"})
        _settle(connection, payout, fence=claim.fence)
        return True

    def find(connection: Connection) -> bool | None:
        if not jobs.holds(connection, claim):
            return False
        settled = connection.execute(_IS_SETTLED, {"id": attempted}).scalar_one_or_none()
        return True if settled else None

    return db.run_step(engine, work, read_back=find, step="pay_dividend")


def _settle(connection: Connection, payout: Row, *, fence: int) -> None:
    """Pay into the wallet, or set aside what the wallet cannot take: the batch goes on."""
    wallet, amount = wallets.lock(connection, payout.user_id), payout.amount_minor
    deliverable = (
        wallet.closed_at is None
        and wallet.currency == payout.currency
        and wallets.has_room(connection, payout.user_id, amount)
    )
    state = "POSTED" if deliverable or not amount else "UNCLAIMED"
    if amount:
        clearing, to = ledger.clearing(payout.batch_id), ledger.wallet(payout.user_id)
        if not deliverable:
            to = ledger.unclaimed(payout.batch_id)
            ledger.ensure_accounts(connection, [to], currency=payout.currency)
            logs.warning("payout_unclaimed", payout_id=payout.id, batch_id=payout.batch_id)
        ledger.lock_accounts(connection, [clearing, to])
        ledger.post(
            connection,
            kind="div" if deliverable else "divun",
            subject_id=str(payout.id),
            currency=payout.currency,
            legs=[ledger.debit(clearing, amount), ledger.credit(to, amount)],
            fence=fence,
        )
    connection.execute(_SETTLE_PAYOUT, {"id": payout.id, "state": state})


def _complete(connection: Connection, claim: Claim) -> None:
    """End a batch without pending payouts; its clearing account must be empty."""
    batch_id = UUID(claim.subject_id)
    clearing = ledger.clearing(batch_id)
    left_minor = ledger.lock_accounts(connection, [clearing])[clearing]
    if left_minor:
        raise RuntimeError(f"dividend {batch_id}: all is paid, but {left_minor} is left over")
    connection.execute(_MOVE_BATCH, {"id": batch_id, "to_state": "COMPLETED"})
    jobs.move(connection, claim.job_id, "SUCCEEDED")
