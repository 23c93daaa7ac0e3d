"""Canary releases: a flag's share of users grows step by step, or falls to nothing.

API processes sample the writes that a flag let pass while its canary runs. A controller, in the
sweeper's process, judges the step: by errors and latency of those requests, and by how the
jobs of the users in the cohort ended. Too few samples decide nothing. A breach takes the
share to 0 in one transaction, and it stays there until a person starts the canary anew.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, text

from . import db, flags, logs
from .errors import Problem
from .settings import Settings

STEPS = (1, 5, 25, 50, 100)
_FLUSH_S = 0.5
_BUFFERED_MAX = 10_000
_BY_JOBS = (flags.EXECUTION, flags.EXTERNAL)
# Jobs that these ended say nothing about the version that runs.
_NOT_JUDGED = ["cancelled", "disabled"]

_ADD_SAMPLES = text("""
INSERT INTO canary_samples (flag, ok, duration_ms)
SELECT s.flag, s.ok, s.ms
FROM unnest(CAST(:flags AS text[]), CAST(:oks AS boolean[]), CAST(:ms AS integer[]))
    AS s (flag, ok, ms)
JOIN canaries c ON c.flag = s.flag AND c.state = 'RUNNING'""")
_DELETE_SAMPLES = text("DELETE FROM canary_samples WHERE flag = :flag")

# One controller at a time: a second one skips what the first has locked.
_FIND_RUNNING = text("""
SELECT c.flag, c.step_at, c.step_at + :step < clock_timestamp() AS step_is_over,
    f.enabled, f.pct, f.version, f.salt
FROM canaries c JOIN feature_flags f ON f.key = c.flag
WHERE c.state = 'RUNNING' ORDER BY c.flag FOR UPDATE OF f, c SKIP LOCKED""")
_LIST = text("""
SELECT c.flag, c.state, c.pct, c.step_at, c.reason, f.salt
FROM canaries c JOIN feature_flags f ON f.key = c.flag ORDER BY c.flag""")
_COUNT_REQUESTS = text("""
SELECT count(*) AS requests, count(*) FILTER (WHERE NOT ok) AS failed,
    coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ms), 0) AS p99_ms
FROM canary_samples WHERE flag = :flag AND at >= :step_at""")
_COUNT_JOBS = text("""
SELECT coalesce(b.instrument, CAST(j.user_id AS text)) AS subject, count(*) AS ended,
    count(*) FILTER (WHERE j.state = 'SUCCEEDED') AS succeeded
FROM jobs j
LEFT JOIN dividend_batches b ON j.kind = 'dividend' AND j.subject_id = CAST(b.id AS text)
WHERE j.kind = :kind AND j.state IN ('SUCCEEDED', 'FAILED')
AND j.updated_at >= :step_at AND coalesce(j.reason, '') <> ALL(:not_judged) GROUP BY subject""")

_START = text("""
INSERT INTO canaries (flag, state, pct, started_by, reason)
VALUES (:flag, 'RUNNING', :pct, :actor_id, :reason)
ON CONFLICT (flag) DO UPDATE SET state = 'RUNNING', pct = :pct, started_by = :actor_id,
    reason = :reason, step_at = clock_timestamp()
WHERE canaries.state <> 'RUNNING' RETURNING flag""")
_MOVE = text("""
UPDATE canaries SET state = :state, pct = :pct, reason = :reason, step_at = clock_timestamp()
WHERE flag = :flag AND state IN ('RUNNING', 'ROLLED_BACK') RETURNING flag""")


class Sampler:
    """Keeps samples in memory and stores them from a thread of its own, never in a request.

    What cannot be stored waits, the newest first to go when there are too many. A sample counted
    twice, after a lost reply, does not matter. Without samples nothing is sent.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = db.make_engine(settings, pool_size=1)
        self._samples: deque[tuple[str, bool, int]] = deque(maxlen=_BUFFERED_MAX)
        self._arrived = threading.Event()
        threading.Thread(target=self._store_forever, name="canary-samples", daemon=True).start()

    def record(self, passed: set[str], *, status: int, duration_ms: float) -> None:
        """One request that these flags let pass; status 0 means that it got no answer."""
        for flag in passed:
            self._samples.append((flag, 0 < status < 500, round(duration_ms)))
            self._arrived.set()

    def _store_forever(self) -> None:
        while True:
            self._arrived.wait()
            time.sleep(_FLUSH_S)
            self._arrived.clear()
            batch = [self._samples.popleft() for _ in range(len(self._samples))]
            if not batch:  # what set the event came with the batch before
                continue
            try:
                db.run_transaction(self._engine, lambda c, batch=batch: _store(c, batch))
            except Exception as error:
                logs.warning("canary_samples_not_stored", error=type(error).__name__)
                self._samples.extendleft(reversed(batch))
                self._arrived.set()


def _store(connection: Connection, batch: list[tuple[str, bool, int]]) -> None:
    names, oks, milliseconds = (list(column) for column in zip(*batch, strict=True))
    connection.execute(_ADD_SAMPLES, {"flags": names, "oks": oks, "ms": milliseconds})


@dataclass(frozen=True)
class Figures:
    """What was seen of the cohort since the step began."""

    requests: int
    failed: int
    p99_ms: int
    jobs: int
    succeeded: int

    def describe(self) -> str:
        return (
            f"{self.failed} of {self.requests} requests failed, p99 {self.p99_ms} ms, "
            f"{self.succeeded} of {self.jobs} jobs succeeded"
        )

    def breach(self, settings: Settings) -> str | None:
        """The threshold that is broken; only what has its minimum of samples is judged."""
        if self.requests >= settings.canary_min_samples:
            if self.failed > settings.canary_max_error_share * self.requests:
                return f"more than {settings.canary_max_error_share:.1%} of the requests failed"
            if self.p99_ms > settings.canary_max_p99_ms:
                return f"p99 is above {settings.canary_max_p99_ms} ms"
        if self.jobs >= settings.canary_min_samples:
            least = settings.canary_min_success_share
            if self.succeeded < least * self.jobs:
                return f"fewer than {least:.1%} of the jobs succeeded"
        return None

    def suffice(self, flag: str, settings: Settings) -> bool:
        """Whether a step may end; a flag that executions need wants to see some, too."""
        least = settings.canary_min_samples
        return self.requests >= least and (flag not in _BY_JOBS or self.jobs >= least)


def figures(connection: Connection, canary: Row) -> Figures:
    """The figures of the cohort since the canary's step began."""
    since = {"flag": canary.flag, "step_at": canary.step_at}
    seen = connection.execute(_COUNT_REQUESTS, since).one()
    kind = "dividend" if canary.flag == flags.DIVIDENDS else "execution"
    ended = {"kind": kind, "step_at": canary.step_at, "not_judged": _NOT_JUDGED}
    jobs = [
        row
        for row in connection.execute(_COUNT_JOBS, ended)
        if flags.in_cohort(canary.flag, canary.salt, row.subject, pct=canary.pct)
    ]
    succeeded = sum(row.succeeded for row in jobs)
    return Figures(**seen._mapping, jobs=sum(row.ended for row in jobs), succeeded=succeeded)


def control_forever(settings: Settings) -> None:
    """The controller: judge every canary that runs, again and again."""
    engine = db.make_engine(settings, pool_size=1)
    while True:
        try:
            control(engine, settings)
        except Exception as error:
            # A COMMIT of unknown outcome, too: the next pass reads how things are.
            logs.warning("canary_control_failed", error=type(error).__name__)
        time.sleep(settings.canary_tick_ms / 1000)


def control(engine: Engine, settings: Settings) -> None:
    step = timedelta(milliseconds=settings.canary_step_ms)

    def work(connection: Connection) -> list[tuple[str, str]]:
        running = connection.execute(_FIND_RUNNING, {"step": step}).all()
        return [(row.flag, _advance(connection, row, settings)) for row in running]

    for flag, moved in db.run_transaction(engine, work):
        if moved:
            logs.warning("canary_moved", flag=flag, reason=moved)


def _advance(connection: Connection, canary: Row, settings: Settings) -> str:
    """Take one canary to its next step, back, or nowhere; why it was moved."""
    seen = figures(connection, canary)
    if breach := seen.breach(settings):
        reason = f"rolled back from {canary.pct} %: {breach} ({seen.describe()})"
        return _move(connection, canary, "ROLLED_BACK", pct=0, reason=reason)
    if not canary.step_is_over or not seen.suffice(canary.flag, settings):
        return ""
    reason = f"healthy at {canary.pct} %: {seen.describe()}"
    if canary.pct == STEPS[-1]:
        return _move(connection, canary, "COMPLETED", pct=canary.pct, reason=reason)
    pct = next(step for step in STEPS if step > canary.pct)
    return _move(connection, canary, "RUNNING", pct=pct, reason=reason)


def _move(connection: Connection, canary: Row, state: str, *, pct: int, reason: str) -> str:
    flag, enabled, why = canary.flag, canary.enabled, f"canary {reason}"
    flags.change(
        connection, flag, enabled=enabled, pct=pct, before=canary, actor_id=None, reason=why
    )
    _set_state(connection, flag, state, pct=pct, reason=reason)
    return reason


def _set_state(connection: Connection, flag: str, state: str, *, pct: int, reason: str) -> bool:
    """Move a canary that runs or was rolled back; False without one. A new step begins without
    samples."""
    values = {"flag": flag, "state": state, "pct": pct, "reason": reason}
    connection.execute(_DELETE_SAMPLES, {"flag": flag})
    return connection.execute(_MOVE, values).one_or_none() is not None


def start(connection: Connection, flag: str, *, actor_id: UUID, reason: str) -> None:
    """Switch the flag on for the first step's users and let the controller go on from there."""
    before = flags.lock(connection, flag)
    if before.enabled and before.pct > STEPS[0]:
        raise Problem(
            "canary-conflict",
            f"{flag} is on for {before.pct} %, and a start at {STEPS[0]} % would take it from them."
            " Disable the flag first if that is meant.",
        )
    values = {"flag": flag, "pct": STEPS[0], "actor_id": actor_id, "reason": reason}
    if connection.execute(_START, values).one_or_none() is None:
        raise Problem("canary-conflict", f"The canary of {flag} runs already.")
    why = f"canary start: {reason}"
    flags.change(
        connection, flag, enabled=True, pct=STEPS[0], before=before, actor_id=actor_id, reason=why
    )
    connection.execute(_DELETE_SAMPLES, {"flag": flag})


def stop(connection: Connection, flag: str, *, actor_id: UUID, reason: str) -> None:
    """Let the share stay as it is; nothing moves it any more. After a rollback: it was seen."""
    row = flags.lock(connection, flag)
    if not _set_state(connection, flag, "STOPPED", pct=row.pct, reason=reason):
        raise Problem("canary-conflict", f"No canary of {flag} runs or was rolled back.")
    why = f"canary stop: {reason}"
    flags.audit(connection, flag, before=row, after=row, actor_id=actor_id, reason=why)


def set_flag(
    connection: Connection,
    flag: str,
    *,
    enabled: bool,
    pct: int,
    version: int,
    actor_id: UUID,
    reason: str,
) -> Row:
    """Set the flag by hand, which stops its canary; refused if somebody changed it meanwhile."""
    before = flags.lock(connection, flag)
    if before.version != version:
        raise Problem(
            "version-conflict",
            f"The flag has version {before.version} by now, not {version}: look at it again.",
            {"version": before.version},
        )
    _set_state(connection, flag, "STOPPED", pct=pct, reason="the flag was set by hand")
    return flags.change(
        connection, flag, enabled=enabled, pct=pct, before=before, actor_id=actor_id, reason=reason
    )


@dataclass(frozen=True)
class Status:
    """A canary as operators see it; figures only while it runs."""

    flag: str
    state: str
    pct: int
    step_at: datetime
    reason: str
    figures: Figures | None


def list_all(connection: Connection) -> list[Status]:
    return [
        Status(*row[:-1], figures(connection, row) if row.state == "RUNNING" else None)
        for row in connection.execute(_LIST).all()
    ]
