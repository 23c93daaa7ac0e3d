"""Jobs: the durable record of work to do. The queue only carries their ids.

A job is claimed with a lease and a fence. The fence grows with every claim; every effect checks
it under the job's row lock, so that a worker that lost its lease cannot write any more.
"""

from dataclasses import dataclass
from datetime import timedelta
from random import uniform
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Row, text

from . import db, logs
from .idempotency import Answer
from .paths import PREFIX
from .settings import Settings
from .tracing import current_traceparent


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until the lease ends or another claim takes over."""

    job_id: UUID
    kind: str
    subject_id: str
    attempt: int
    fence: int


# The horizon, the only way into review: both the attempts and the time are used up. An attempt
# that surely sent nothing does not count, so that a partner that is down costs time and no more.
USED_UP = """(attempts - unsent >= :max_attempts
    AND created_at < clock_timestamp() - :review_after)"""
# Executions in review are driven by what the partner says; all others are slowly tried again.
RETRIED_IN_REVIEW = "kind <> 'execution'"
# A time further ahead than any is set to is of before the database's clock went back: it is over.
LEASE_IS_OVER = "(lease_until < clock_timestamp() OR lease_until > clock_timestamp() + :lease)"
IS_DUE = """(next_run_at <= clock_timestamp()
    OR next_run_at > clock_timestamp() + :longest_delay)"""

_ENQUEUE = text("""
WITH job AS (
    INSERT INTO jobs (id, kind, subject_id, user_id, state, traceparent)
    VALUES (:job_id, :kind, :subject_id, :user_id, 'PENDING', :traceparent) RETURNING id
), logged AS (
    INSERT INTO job_state_logs (job_id, to_state, attempt, fence)
    SELECT id, 'PENDING', 0, 0 FROM job
)
INSERT INTO outbox (id, job_id, status, traceparent)
SELECT :message_id, id, 'pending', :traceparent FROM job""")

# One statement claims and logs. The sub-select waits for a competing claim, then sees its lease.
_CLAIM = text(f"""
WITH claimed AS (
    UPDATE jobs SET state = 'RUNNING', attempts = attempts + 1, fence = fence + 1,
        claim_id = :claim_id, next_run_at = NULL, updated_at = clock_timestamp(),
        lease_until = clock_timestamp() + :lease
    FROM (SELECT id AS old_id, state AS old_state FROM jobs WHERE id = :job_id
            AND (state IN ('PENDING', 'WAITING', 'RUNNING') AND NOT {USED_UP}
                OR state = 'REVIEW' AND {RETRIED_IN_REVIEW})
            AND (lease_until IS NULL OR {LEASE_IS_OVER}) AND (next_run_at IS NULL OR {IS_DUE})
          FOR UPDATE) AS old
    WHERE id = old_id
    RETURNING id, kind, subject_id, attempts, fence, old_state
), logged AS (
    INSERT INTO job_state_logs (job_id, from_state, to_state, attempt, fence)
    SELECT id, old_state, 'RUNNING', attempts, fence FROM claimed
)
SELECT id, kind, subject_id, attempts, fence FROM claimed""")
_FIND_CLAIM = text("""
SELECT id, kind, subject_id, attempts, fence FROM jobs WHERE id = :job_id AND claim_id = :claim_id
""")

_LOCK = text("""
SELECT state, fence, coalesce(lease_until > clock_timestamp(), false) AS leased
FROM jobs WHERE id = :job_id FOR UPDATE""")

_TAKE_OVER = text("""
WITH taken AS (
    UPDATE jobs SET state = 'RUNNING', fence = fence + 1, claim_id = NULL, next_run_at = NULL,
        lease_until = NULL, updated_at = clock_timestamp()
    WHERE id = :job_id RETURNING id, kind, subject_id, attempts, fence
), logged AS (
    INSERT INTO job_state_logs (job_id, from_state, to_state, attempt, fence, reason)
    SELECT id, :from_state, 'RUNNING', attempts, fence, 'reconciliation' FROM taken
)
SELECT id, kind, subject_id, attempts, fence FROM taken""")
_TAKE_OVER_IN_REVIEW = text("""
UPDATE jobs SET fence = fence + 1, updated_at = clock_timestamp()
WHERE id = :job_id RETURNING id, kind, subject_id, attempts, fence""")

_RENEW = text("""
UPDATE jobs SET lease_until = clock_timestamp() + :lease_ms * interval '1 ms'
WHERE id = :job_id""")

_SPEND = text(f"""
UPDATE jobs SET unsent = unsent + :unsent WHERE id = :job_id RETURNING {USED_UP}""")

_MOVE = text("""
WITH moved AS (
    UPDATE jobs SET state = :to_state, reason = :reason, fence = fence + :fence_step,
        lease_until = NULL, claim_id = NULL, updated_at = clock_timestamp(),
        next_run_at = clock_timestamp() + CAST(:delay_ms AS bigint) * interval '1 ms'
    FROM (SELECT id AS old_id, state AS old_state FROM jobs WHERE id = :job_id) AS old
    WHERE id = old_id
    RETURNING id, old_state, attempts, fence
)
INSERT INTO job_state_logs (job_id, from_state, to_state, attempt, fence, reason)
SELECT id, old_state, :to_state, attempts, fence, :reason FROM moved""")


def enqueue(connection: Connection, *, kind: str, subject_id: str, user_id: UUID) -> Answer:
    """Write job, state log and outbox row in the caller's transaction; the answer names the job."""
    job_id = uuid4()
    message = {"message_id": uuid4(), "traceparent": current_traceparent()}
    job = {"job_id": job_id, "kind": kind, "subject_id": subject_id, "user_id": user_id}
    connection.execute(_ENQUEUE, job | message)
    document = address(job_id)
    return Answer.of(202, document, location=document["status_url"], counted=user_id)


def address(job_id: UUID) -> dict[str, str]:
    """What an answer says about a job: where its state can be read."""
    return {"job_id": str(job_id), "status_url": f"{PREFIX}/jobs/{job_id}"}


def horizon(settings: Settings) -> dict[str, object]:
    """The parameters of USED_UP, LEASE_IS_OVER and IS_DUE."""
    longest_ms = max(settings.retry_cap_ms, settings.review_retry_ms)
    return {
        "max_attempts": settings.max_attempts,
        "review_after": timedelta(milliseconds=settings.review_after_ms),
        "lease": timedelta(milliseconds=settings.job_lease_ms),
        "longest_delay": timedelta(milliseconds=longest_ms),
    }


def claim(engine: Engine, job_id: UUID, *, settings: Settings) -> Claim | None:
    """Claim the job in a transaction of its own; None when it is not to be run now."""
    where = {"job_id": job_id, "claim_id": uuid4()}
    parameters = where | horizon(settings)

    def take(connection: Connection) -> Row | None:
        return connection.execute(_CLAIM, parameters).one_or_none()

    def find(connection: Connection) -> Row | None:
        # By our own claim id: another worker could hold the fence that we were about to get.
        return connection.execute(_FIND_CLAIM, where).one_or_none()

    row = db.run_step(engine, take, read_back=find, step="claim")
    return None if row is None else Claim(*row)


def holds(connection: Connection, claim: Claim) -> bool:
    """Lock the job; False when another claim took over or somebody ended it."""
    row = lock(connection, claim.job_id)
    return row.state == "RUNNING" and row.fence == claim.fence


def is_past(connection: Connection, claim: Claim) -> bool | None:
    """Read-back of a step that ends a claim: True when the claim was ended, else None."""
    return None if holds(connection, claim) else True


def lock(connection: Connection, job_id: UUID) -> Row:
    return connection.execute(_LOCK, {"job_id": job_id}).one()


def take_over(connection: Connection, job_id: UUID) -> Claim | None:
    """Claim within the caller's transaction, to settle by evidence; None while a lease is live.

    A job in review is in nobody's hands: it gets a new fence and stays there until it is settled.
    """
    job = lock(connection, job_id)
    if job.leased or job.state not in ("WAITING", "RUNNING", "REVIEW"):
        return None
    if job.state == "REVIEW":
        return Claim(*connection.execute(_TAKE_OVER_IN_REVIEW, {"job_id": job_id}).one())
    where = {"job_id": job_id, "from_state": job.state}
    return Claim(*connection.execute(_TAKE_OVER, where).one())


def renew(connection: Connection, claim: Claim, *, settings: Settings) -> None:
    """Begin the lease of a held job again."""
    connection.execute(_RENEW, {"job_id": claim.job_id, "lease_ms": settings.job_lease_ms})


def postpone(engine: Engine, claim: Claim, *, reason: str, settings: Settings) -> None:
    """Give a job that was interrupted back, to be tried again later: it need not wait for the end
    of its lease. The sweeper parks it when attempts and time are used up."""

    def work(connection: Connection) -> bool:
        if not holds(connection, claim):
            return False
        delay_ms = backoff_ms(claim.attempt, settings=settings)
        move(connection, claim.job_id, "WAITING", reason=reason, delay_ms=delay_ms)
        return True

    if db.run_step(engine, work, read_back=lambda c: is_past(c, claim), step="postpone"):
        logs.info("job_postponed", job_id=claim.job_id, attempt=claim.attempt, reason=reason)


def backoff_ms(attempt: int, *, settings: Settings) -> int:
    """Capped exponential backoff with full jitter above half the base."""
    ceiling = min(settings.retry_cap_ms, settings.retry_base_ms * 2 ** min(attempt, 20))
    return int(uniform(settings.retry_base_ms / 2, ceiling))


def spend(connection: Connection, job_id: UUID, *, sent: bool, settings: Settings) -> bool:
    """Account for an attempt that settled nothing; True when attempts and time are used up."""
    parameters = {"job_id": job_id, "unsent": 0 if sent else 1, **horizon(settings)}
    return connection.execute(_SPEND, parameters).scalar_one()


def move(
    connection: Connection,
    job_id: UUID,
    to_state: str,
    *,
    reason: str | None = None,
    delay_ms: int | None = None,
    fence_step: int = 0,
) -> None:
    """Change the state and log it; the job must be locked. Ends lease and claim."""
    values = {"job_id": job_id, "to_state": to_state, "reason": reason, "delay_ms": delay_ms}
    connection.execute(_MOVE, values | {"fence_step": fence_step})
