"""Prometheus metrics of one API process: its own requests, and the state that PostgreSQL holds.

The state is read when it is scraped, by one bounded statement, so that it covers workers, relay
and sweeper as well, and every API process tells the same. No label names a person or a resource.
"""

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import SQLAlchemyError

from . import db, logs
from .guards import Watch

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Gauge → what it says, and its labels, in the order of the statement's columns.
_STATE: dict[str, tuple[str, tuple[str, ...]]] = {
    "jobs": ("Jobs by kind and state.", ("kind", "state")),
    "job_oldest_seconds": ("Age of the oldest job that is not over.", ("state",)),
    "job_overdue_seconds": ("Since when a job should have been tried again.", ()),
    "outbox_pending": ("Messages that wait for the relay.", ()),
    "outbox_oldest_seconds": ("How long the oldest of them waits.", ()),
    "partner_orders": ("Orders at the partner by status.", ("status",)),
    "partner_unsettled_oldest_seconds": ("Age of the oldest order without an outcome.", ()),
    "in_review": ("Investments that a person must look at.", ()),
    "ledger_unbalanced_transactions": ("Among the last 10,000; must be 0.", ()),
    "dividend_batches_unpaid": ("Completed batches whose clearing is not 0.", ()),
    "flag_pct": ("Share of the users for whom a flag is on.", ("flag",)),
    "canary": ("1 for the state that a flag's canary is in.", ("flag", "state")),
}
_READ = text("""
SELECT 'jobs', kind, state, count(*) FROM jobs GROUP BY kind, state
UNION ALL SELECT 'job_oldest_seconds', state, NULL,
    extract(epoch FROM clock_timestamp() - min(created_at))
    FROM jobs WHERE state NOT IN ('SUCCEEDED', 'FAILED') GROUP BY state
UNION ALL SELECT 'job_overdue_seconds', NULL, NULL, greatest(0, extract(epoch FROM
    clock_timestamp() - min(CASE state WHEN 'RUNNING' THEN lease_until ELSE next_run_at END)))
    FROM jobs WHERE state IN ('RUNNING', 'WAITING')
UNION ALL SELECT 'outbox_pending', NULL, NULL, count(*) FROM outbox WHERE status = 'pending'
UNION ALL SELECT 'outbox_oldest_seconds', NULL, NULL, coalesce(extract(epoch FROM
    clock_timestamp() - min(greatest(created_at, published_at))), 0)
    FROM outbox WHERE status = 'pending'
UNION ALL SELECT 'partner_orders', status, NULL, count(*) FROM partner_orders GROUP BY status
UNION ALL SELECT 'partner_unsettled_oldest_seconds', NULL, NULL,
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
    FROM partner_orders WHERE status IN ('INTENT', 'SENT', 'UNKNOWN')
UNION ALL SELECT 'in_review', NULL, NULL, count(*) FROM partner_orders o
    JOIN investments i ON i.id = o.investment_id
    WHERE o.status IN ('INTENT', 'SENT', 'UNKNOWN') AND i.state = 'REVIEW'
UNION ALL SELECT 'ledger_unbalanced_transactions', NULL, NULL, count(*) FROM (
    SELECT tx_id FROM ledger_entries
    WHERE tx_id > (SELECT coalesce(max(id), 0) - 10000 FROM ledger_transactions) GROUP BY tx_id
    HAVING sum(CASE direction WHEN 'D' THEN amount_minor ELSE -amount_minor END) <> 0) AS wrong
UNION ALL SELECT 'dividend_batches_unpaid', NULL, NULL, count(*) FROM dividend_batches b
    JOIN ledger_accounts a ON a.id = 'L:DIVCLR:' || b.id
    WHERE b.state = 'COMPLETED' AND a.balance_minor <> 0
UNION ALL SELECT 'flag_pct', key, NULL, CASE WHEN enabled THEN pct ELSE 0 END FROM feature_flags
UNION ALL SELECT 'canary', flag, state, 1 FROM canaries""")

# The next accounts in the order of their ids; each has few entries, and there is an index on them.
_ACCOUNTS = 500
_CHECK_BALANCES = text(f"""
SELECT a.id, a.balance_minor <> (
    SELECT coalesce(
        sum(CASE direction WHEN a.normal_side THEN amount_minor ELSE -amount_minor END), 0)
    FROM ledger_entries e WHERE e.account_id = a.id) AS drifts
FROM ledger_accounts a WHERE a.id > :after AND a.balance_minor IS NOT NULL
ORDER BY a.id LIMIT {_ACCOUNTS}""")


class _State:
    """Collects what PostgreSQL and Redis say; when one is away, that is what is told."""

    def __init__(self, probe: Engine, watch: Watch, redis_answers: Callable[[], bool]) -> None:
        self._probe, self._watch, self._redis_answers = probe, watch, redis_answers
        self._after = ""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge for each kind of row; without the database, only that it is away."""
        try:
            rows, drifting = db.run_read(self._probe, self._read)
            lacking: int | None = len(self._watch.look()[1])
        except SQLAlchemyError as error:
            logs.warning("state_not_scraped", error=type(error).__name__)
            rows, drifting, lacking = [], 0, None
        yield _gauge("database_up", "1 if PostgreSQL answered in time.", int(lacking is not None))
        yield _gauge("redis_up", "1 if Redis answered in time.", int(self._redis_answers()))
        if lacking is None:
            return
        yield _gauge("guards_lacking", "Guards of the schema that are not in force.", lacking)
        yield _gauge("ledger_balances_drifting", "Balances that are not their entries.", drifting)
        for name, (summary, labels) in _STATE.items():
            family = GaugeMetricFamily(f"investment_{name}", summary, labels=labels)
            for kind, *values, value in rows:
                if kind == name:
                    family.add_metric(values[: len(labels)], float(value))
            yield family

    def _read(self, connection: Connection) -> tuple[list[Row], int]:
        """The rows of the state, and how many balances of some accounts are wrong.

        Each scrape looks at the accounts after the last ones, but stays at those that are wrong.
        """
        accounts = connection.execute(_CHECK_BALANCES, {"after": self._after}).all()
        drifting = sum(account.drifts for account in accounts)
        if not drifting:
            self._after = accounts[-1].id if len(accounts) == _ACCOUNTS else ""
        return list(connection.execute(_READ)), drifting


def _gauge(name: str, summary: str, value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"investment_{name}", summary, value=value)


class Metrics:
    """The registry of one API process."""

    def __init__(self, probe: Engine, watch: Watch, redis_answers: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        self._requests = counter(
            "investment_http_requests", "Answered requests.", ("method", "route", "status")
        )
        self._duration = Histogram(
            "investment_http_request_duration_seconds",
            "From the request to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._replays = counter(
            "investment_idempotent_replays", "Answers that were given before.", ("route",)
        )
        # Without labels, so that they are there at 0: the increase of what is born at 1 is 0.
        self._errors = counter("investment_server_errors", "Requests that got a 5xx.")
        self._limited = counter("investment_rate_limited", "Requests beyond their user's limit.")
        self._registry.register(_State(probe, watch, redis_answers))  # type: ignore[arg-type]

    def observe(
        self, *, method: str, route: str, status: int, seconds: float, replayed: bool
    ) -> None:
        """Count one answered request; its route is the template, never the path."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._duration.labels(method, route).observe(seconds)
        if replayed:
            self._replays.labels(route).inc()
        if status == 429:
            self._limited.inc()
        if status >= 500:
            self._errors.inc()

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)
