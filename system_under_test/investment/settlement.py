"""Turn what the partner said into postings and final states, in the caller's transaction."""

from sqlalchemy import Connection, Row, text

from . import investments, jobs, ledger, logs
from .jobs import Claim
from .partner_client import Executed, NotFound, NotSent, Outcome, Rejected, Unknown
from .settings import Settings
from .vault import PARTNER_ORDER, vault_of

_CLOSE_ORDER = text("""
UPDATE partner_orders SET status = :status, partner_order_token = :token, reason = :reason,
    updated_at = clock_timestamp(), checked_at = clock_timestamp()
WHERE investment_id = :investment_id""")

# As long as no attempt sent anything, the order is what it was at first: an intent.
_KEEP_ORDER_OPEN = text("""
UPDATE partner_orders SET reason = :reason, updated_at = clock_timestamp(),
    checked_at = clock_timestamp(),
    status = CASE WHEN attempts > (SELECT unsent FROM jobs WHERE id = :job_id)
        THEN 'UNKNOWN' ELSE 'INTENT' END
WHERE investment_id = :investment_id""")


def settle(
    connection: Connection, investment: Row, claim: Claim, *, outcome: Outcome, settings: Settings
) -> None:
    """Apply an outcome; investment and job are locked and the claim's fence was checked."""
    job_id = claim.job_id
    match outcome:
        case Executed(order_id, amount):
            _capture(connection, investment, outcome, fence=claim.fence)
            token = vault_of(settings).tokenise(
                connection, purpose=PARTNER_ORDER, subject_id=investment.id, value=order_id
            )
            closed = {"status": "CONFIRMED", "token": token, "reason": None}
            connection.execute(_CLOSE_ORDER, closed | {"investment_id": investment.id})
            investments.move(
                connection, investment.id, "EXECUTED", evidence=str(token), executed_minor=amount
            )
            jobs.move(connection, job_id, "SUCCEEDED")
        case Rejected(reason):
            investments.release(connection, investment, fence=claim.fence)
            closed = {"status": "REJECTED", "token": None, "reason": reason}
            connection.execute(_CLOSE_ORDER, closed | {"investment_id": investment.id})
            investments.move(
                connection, investment.id, "FAILED", reason=reason, evidence="partner refusal"
            )
            jobs.move(connection, job_id, "FAILED", reason=reason)
        case Unknown() | NotFound() | NotSent():
            _wait_or_review(connection, investment, claim, outcome=outcome, settings=settings)


def _capture(connection: Connection, investment: Row, executed: Executed, *, fence: int) -> None:
    """The held money buys the position; what was not used goes back to the wallet."""
    currency, subject_id = investment.currency, str(investment.id)
    hold, wallet = ledger.hold(investment.id), ledger.wallet(investment.user_id)
    invested = ledger.invested(investment.id)
    position = ledger.position(investment.instrument, currency)
    cash, fee_account = ledger.cash(currency), ledger.fee(currency)
    amount, fee = executed.amount_minor, executed.fee_minor
    residual = investment.amount_minor - amount - fee
    ledger.ensure_accounts(connection, [invested, position], currency=currency)
    ledger.lock_accounts(connection, [hold, invested, *([wallet] if residual else [])])
    legs = [
        ledger.debit(hold, amount + fee),
        ledger.debit(position, amount),
        ledger.credit(invested, amount),
        ledger.credit(cash, amount),
    ]
    if fee:
        legs.append(ledger.credit(fee_account, fee))
    ledger.post(
        connection, kind="capture", subject_id=subject_id, currency=currency, legs=legs, fence=fence
    )
    if residual:
        ledger.post(
            connection,
            kind="residual",
            subject_id=subject_id,
            currency=currency,
            legs=[ledger.debit(hold, residual), ledger.credit(wallet, residual)],
            fence=fence,
        )


def _wait_or_review(
    connection: Connection,
    investment: Row,
    claim: Claim,
    *,
    outcome: Unknown | NotFound | NotSent,
    settings: Settings,
) -> None:
    """Unknown is never failed: keep the hold and ask again, or let a person look at the horizon."""
    not_found = isinstance(outcome, NotFound)
    reason = "not known to the partner yet" if not_found else outcome.reason
    sent = not isinstance(outcome, NotSent)
    used_up = jobs.spend(connection, claim.job_id, sent=sent, settings=settings)
    values = {"investment_id": investment.id, "job_id": claim.job_id, "reason": reason}
    connection.execute(_KEEP_ORDER_OPEN, values)
    if used_up:
        investments.move(connection, investment.id, "REVIEW", reason=reason)
        jobs.move(connection, claim.job_id, "REVIEW", reason=reason)
        logs.warning("review_needed", investment_id=investment.id, reason=reason)
    else:
        delay_ms = jobs.backoff_ms(claim.attempt, settings=settings)
        jobs.move(connection, claim.job_id, "WAITING", reason=reason, delay_ms=delay_ms)
