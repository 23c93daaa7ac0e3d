"""The sweeper drives every unfinished row to its end, with PostgreSQL and the partner's query API.

Redispatch: a job that nobody works on is published again. Reconciliation: an order whose outcome
is unknown is asked about, and settled by what the partner says; in review, where no worker looks
any more, an order that the partner does not know is also placed again. Parking: a job that used
up its attempts and its time is put before a person, and still tried again, at a slow pace.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, Row, TextClause, text

from . import canary, db, execution, investments, jobs, logs, partners, settlement, tracing
from .partner_client import Executed, NotFound, Order, Outcome, PartnerClient, Rejected
from .settings import Settings

_BATCH = 100

# Due and not in anybody's hands. A message that was published since the job fell due is given
# `redispatch_after` to arrive before it is published again; one from the future was published
# before the database's clock went back.
_LOST_CONDITION = f"""
o.status = 'published' AND (o.published_at < clock_timestamp() - :redispatch_after
    OR o.published_at > clock_timestamp()
    OR CASE j.state WHEN 'RUNNING' THEN j.lease_until ELSE j.next_run_at END
        BETWEEN o.published_at AND clock_timestamp())
AND CASE j.state WHEN 'PENDING' THEN true
    WHEN 'WAITING' THEN {jobs.IS_DUE}
    WHEN 'RUNNING' THEN {jobs.LEASE_IS_OVER}
    WHEN 'REVIEW' THEN j.{jobs.RETRIED_IN_REVIEW} AND {jobs.IS_DUE}
    ELSE false END"""
_FIND_LOST = text(f"""
SELECT j.id, j.state, j.traceparent FROM jobs j JOIN outbox o ON o.job_id = j.id
WHERE j.state NOT IN ('SUCCEEDED', 'FAILED') AND {_LOST_CONDITION}
ORDER BY j.created_at LIMIT {_BATCH}""")
_REDISPATCH = text(f"""
UPDATE outbox AS o SET status = 'pending' FROM jobs AS j
WHERE o.job_id = j.id AND j.id = :job_id AND {_LOST_CONDITION} RETURNING o.job_id""")

_FIND_UNSETTLED = text(f"""
SELECT i.id, i.user_id, i.instrument, i.amount_minor, i.currency, i.state,
    o.client_order_id, o.attempts, j.id AS job_id, j.traceparent
FROM partner_orders o JOIN investments i ON i.id = o.investment_id
JOIN jobs j ON j.kind = 'execution' AND j.subject_id = CAST(i.id AS text)
WHERE o.status IN ('INTENT', 'SENT', 'UNKNOWN')
AND (o.checked_at < clock_timestamp() - :reconcile_after OR o.checked_at > clock_timestamp())
AND (j.lease_until IS NULL OR j.lease_until < clock_timestamp())
ORDER BY o.checked_at LIMIT {_BATCH}""")
_CHECKED = text("""
UPDATE partner_orders SET checked_at = clock_timestamp() WHERE investment_id = :id""")
# By id, which grows with time: looks at the oldest rows only, however large the table is. Events
# are kept longer than the hour that counts, so that a clock set wrong for a while loses none.
_REAP = [
    text(f"""
DELETE FROM {table} WHERE id IN (
    SELECT id FROM (SELECT id, {column} FROM {table} ORDER BY id LIMIT 1000) AS oldest
    WHERE {column} < clock_timestamp() - :{age})""")
    for table, column, age in (
        ("idempotency_keys", "created_at", "key_retention"),
        ("rate_events", "at", "event_retention"),
    )
]
_REAP.append(text("DELETE FROM admin_sessions WHERE expires_at < clock_timestamp()"))
_EXHAUSTED = "out of attempts and time"

_FIND_EXHAUSTED = text(f"""
SELECT id, kind, subject_id, traceparent, CASE WHEN starts_with(reason, '{_EXHAUSTED}')
    THEN reason ELSE concat_ws('; ', '{_EXHAUSTED}', reason) END AS reason
FROM jobs WHERE {jobs.USED_UP} AND (state = 'WAITING'
    OR (state = 'RUNNING' AND lease_until < clock_timestamp()))
ORDER BY created_at LIMIT {_BATCH}""")


class Sweeper:
    """One pass after another; passes may overlap with workers and with other sweepers.

    Only reconciliation waits for the partner: it has a thread of its own, so that a partner that
    hangs never delays the others.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = db.make_engine(settings, pool_size=2)
        self._partner = PartnerClient(settings, partners.api_key_reader(self._engine, settings))
        after_ms = settings.job_lease_ms + settings.redispatch_after_ms
        self._limits = {
            "redispatch_after": timedelta(milliseconds=settings.redispatch_after_ms),
            "reconcile_after": timedelta(milliseconds=after_ms),
            "key_retention": timedelta(days=settings.idempotency_retention_days),
            "event_retention": timedelta(days=1),
            **jobs.horizon(settings),
        }

    def run(self) -> None:
        arguments = (self._settings,)
        threading.Thread(target=canary.control_forever, args=arguments, daemon=True).start()
        threading.Thread(target=self._reconcile_forever, daemon=True).start()
        while True:
            self._each(_FIND_EXHAUSTED, self._park, step="park")
            self._each(_FIND_LOST, self._redispatch, step="redispatch")
            self._reap()
            time.sleep(self._settings.sweep_tick_ms / 1000)

    def _reconcile_forever(self) -> None:
        while True:
            self._each(_FIND_UNSETTLED, self._reconcile, step="reconcile")
            time.sleep(self._settings.sweep_tick_ms / 1000)

    def _each(self, query: TextClause, handle: Callable[[Row], None], *, step: str) -> None:
        """Handle every row under its own trace; one that fails waits for the next pass."""
        try:
            rows = db.run_read(self._engine, lambda c: c.execute(query, self._limits).all())
        except Exception as error:
            logs.warning("sweep_failed", step=step, error=type(error).__name__)
            return
        for row in rows:
            with tracing.traced(row.traceparent):
                try:
                    handle(row)
                except db.CommitOutcomeUnknown:
                    # Every condition is read again in the next pass, on another connection.
                    logs.warning("commit_outcome_unknown", step=step, resolved="next pass")
                except Exception as error:
                    logs.exception("sweep_row_failed", error, step=step)

    def _reap(self) -> None:
        """Forget keys, events and sessions that are over; what fails is reaped another time."""
        for statement in _REAP:
            try:
                db.run_transaction(self._engine, lambda c, s=statement: c.execute(s, self._limits))
            except Exception as error:
                logs.warning("sweep_failed", step="reap", error=type(error).__name__)

    def _redispatch(self, row: Row) -> None:
        where = self._limits | {"job_id": row.id}
        if db.run_transaction(self._engine, lambda c: c.scalar(_REDISPATCH, where)):
            logs.info("job_redispatched", job_id=row.id, state=row.state)

    def _reconcile(self, row: Row) -> None:
        order = execution.order_of(row, row.client_order_id, row.attempts)
        try:
            outcome = self._partner.query(order)
            if outcome == NotFound() and row.state == "REVIEW":
                outcome = self._place_again(row)
            settled, name = self._settle(row, outcome), type(outcome).__name__
        except Exception:
            # What cannot be settled must not stay the first in line, before everybody's orders.
            db.run_transaction(self._engine, lambda c: c.execute(_CHECKED, {"id": row.id}))
            raise
        logs.info("order_reconciled", investment_id=row.id, outcome=name, settled=settled)

    def _place_again(self, row: Row) -> Outcome:
        """The very same order, unless somebody settled it: the partner dedupes what comes late."""

        def work(connection: Connection) -> Order | None:
            investment = investments.lock(connection, row.id)
            if investment.state != "REVIEW":
                return None
            claim = jobs.take_over(connection, row.job_id)
            return claim and execution.intend(connection, investment, fence=claim.fence)

        order = db.run_transaction(self._engine, work)
        return self._partner.submit(order) if order else NotFound()

    def _settle(self, row: Row, outcome: Outcome) -> bool:
        """Settle by evidence unless a worker holds the job; without any, ask again later."""

        def work(connection: Connection) -> bool:
            if not isinstance(outcome, Executed | Rejected):
                connection.execute(_CHECKED, {"id": row.id})
                return False
            investment = investments.lock(connection, row.id)
            claim = jobs.take_over(connection, row.job_id)
            if claim is None:
                return False
            settlement.settle(
                connection, investment, claim, outcome=outcome, settings=self._settings
            )
            return True

        return db.run_transaction(self._engine, work)

    def _park(self, row: Row) -> None:
        """Out of attempts: void what never reached the partner, put the rest before a person."""

        def work(connection: Connection) -> bool:
            investment = None
            if row.kind == "execution":
                investment = investments.lock(connection, UUID(row.subject_id))
            job = jobs.lock(connection, row.id)
            if job.leased or job.state not in ("WAITING", "RUNNING"):
                return False
            if investment is not None and investment.state == "QUEUED":
                investments.release(connection, investment)
                investments.move(connection, investment.id, "CANCELLED", reason=row.reason)
                jobs.move(connection, row.id, "FAILED", reason=row.reason, fence_step=1)
                return True
            if investment is not None:
                investments.move(connection, investment.id, "REVIEW", reason=row.reason)
            delay_ms = self._settings.review_retry_ms if investment is None else None
            jobs.move(
                connection, row.id, "REVIEW", reason=row.reason, delay_ms=delay_ms, fence_step=1
            )
            return True

        if db.run_transaction(self._engine, work):
            logs.warning("job_parked", job_id=row.id, kind=row.kind)
