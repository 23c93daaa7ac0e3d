"""The worker's part of an execution: claim, persist the intent, call the partner, settle.

Three short transactions, none of them open during the call. Each can be lost at any instant:
the claim's lease ends, the sweeper publishes the job again, and the next attempt asks the
partner about the very order that was persisted first.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy import Connection, Engine, Row, text

from . import db, flags, investments, jobs, logs, settlement
from .auth import NAMESPACE
from .idempotency import canonical_json
from .jobs import Claim
from .partner_client import NotFound, Order, Outcome, PartnerClient
from .settings import Settings
from .tracing import current_traceparent


@dataclass(frozen=True)
class Intent:
    """What the intent transaction decided: an order to place, or nothing (order is None)."""

    order: Order | None


_ADD_ORDER = text("""
INSERT INTO partner_orders
    (investment_id, client_order_id, status, fence, payload_hash, traceparent)
VALUES (:investment_id, :client_order_id, 'INTENT', :fence, :payload_hash, :traceparent)
ON CONFLICT (investment_id) DO NOTHING""")

_SEND_ORDER = text("""
UPDATE partner_orders SET status = 'SENT', attempts = attempts + 1, fence = :fence,
    updated_at = clock_timestamp(), checked_at = clock_timestamp()
WHERE investment_id = :investment_id RETURNING client_order_id, attempts""")

_FIND_INTENT = text("""
SELECT i.id, i.user_id, i.instrument, i.amount_minor, i.currency, o.client_order_id, o.attempts
FROM partner_orders o JOIN investments i ON i.id = o.investment_id
WHERE o.investment_id = :investment_id AND o.fence = :fence""")


def execute(engine: Engine, partner: PartnerClient, claim: Claim, *, settings: Settings) -> None:
    """Bring the claimed execution as far as its partner lets it come."""
    order = _persist_intent(engine, claim).order
    if order is None:
        logs.info("execution_not_due", job_id=claim.job_id)
        return
    outcome = ask_partner(partner, order)
    settled = settle_claim(engine, claim, outcome, settings=settings)
    logs.info(
        "execution_attempted",
        job_id=claim.job_id,
        investment_id=order.investment_id,
        attempt=claim.attempt,
        outcome=type(outcome).__name__,
        settled=settled,
    )


def ask_partner(partner: PartnerClient, order: Order) -> Outcome:
    """Submit the order; from the second attempt on, first ask what became of it."""
    if order.attempt > 1:
        outcome = partner.query(order)
        if outcome != NotFound():
            return outcome
    return partner.submit(order)


def _persist_intent(engine: Engine, claim: Claim) -> Intent:
    investment_id = UUID(claim.subject_id)

    def persist(connection: Connection) -> Intent:
        investment = investments.lock(connection, investment_id)
        if not jobs.holds(connection, claim) or investment.state not in ("QUEUED", "EXECUTING"):
            return Intent(None)
        if investment.state == "QUEUED" and not flags.is_enabled(
            connection, flags.EXECUTION, flags.EXTERNAL
        ):
            # Before the first order only: whatever a partner may have seen goes on to its end.
            investments.release(connection, investment, fence=claim.fence)
            investments.move(connection, investment_id, "CANCELLED", reason="disabled")
            jobs.move(connection, claim.job_id, "FAILED", reason="disabled")
            return Intent(None)
        order = intend(connection, investment, fence=claim.fence)
        if investment.state == "QUEUED":
            investments.move(connection, investment_id, "EXECUTING")
        return Intent(order)

    def find(connection: Connection) -> Intent | None:
        where = {"investment_id": investment_id, "fence": claim.fence}
        row = connection.execute(_FIND_INTENT, where).one_or_none()
        return None if row is None else Intent(order_of(row, row.client_order_id, row.attempts))

    return db.run_step(engine, persist, read_back=find, step="intent")


def intend(connection: Connection, investment: Row, *, fence: int) -> Order:
    """Persist that the order is about to be sent, for the first time or again."""
    return order_of(investment, *_client_order_id(connection, investment, fence=fence))


def _client_order_id(connection: Connection, investment: Row, *, fence: int) -> tuple[UUID, int]:
    """The one id by which the partner knows this investment, and the number of this attempt.

    It is computed once, persisted before the first call and read back for every later attempt,
    for queries as for submits: whatever is sent twice carries the same id.
    """
    client_order_id = uuid5(NAMESPACE, str(investment.id))
    payload = {
        "account": str(investment.user_id),
        "instrument": investment.instrument,
        "amount_minor": str(investment.amount_minor),
        "currency": investment.currency,
    }
    order = {
        "investment_id": investment.id,
        "client_order_id": client_order_id,
        "fence": fence,
        "payload_hash": hashlib.sha256(canonical_json(payload).encode()).digest(),
        "traceparent": current_traceparent(),
    }
    connection.execute(_ADD_ORDER, order)
    sent = connection.execute(_SEND_ORDER, order).one()
    return sent.client_order_id, sent.attempts


def order_of(investment: Row, client_order_id: UUID, attempt: int) -> Order:
    """What the partner is asked for an investment."""
    return Order(
        investment_id=investment.id,
        client_order_id=client_order_id,
        attempt=attempt,
        account=str(investment.user_id),
        instrument=investment.instrument,
        amount_minor=investment.amount_minor,
        currency=investment.currency,
    )


def settle_claim(engine: Engine, claim: Claim, outcome: Outcome, *, settings: Settings) -> bool:
    """Settle under the claim's fence; False when another claim took over meanwhile."""

    def settle(connection: Connection) -> bool:
        investment = investments.lock(connection, UUID(claim.subject_id))
        if not jobs.holds(connection, claim):
            return False
        settlement.settle(connection, investment, claim, outcome=outcome, settings=settings)
        return True

    return db.run_step(engine, settle, read_back=lambda c: jobs.is_past(c, claim), step="settle")
