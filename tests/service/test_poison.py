"""A job that cannot succeed stands in nobody's way, and succeeds by itself once it can."""

import time
from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.long]

SET_BALANCE = "UPDATE ledger_accounts SET balance_minor = %s WHERE id = 'L:WALLET:' || %s"
# No balance that the service makes: with it every posting to the account fails.
POISON_MINOR = 2**63 - 1
# As if it had failed for long: the horizon is out of attempts and out of time.
USE_UP = "UPDATE jobs SET attempts = 99, created_at = now() - interval '1 day' WHERE id = %s"
DUE_NOW = "UPDATE jobs SET next_run_at = clock_timestamp() WHERE id = %s AND state = 'REVIEW'"
WAIT_SECONDS = 20


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.02)


def test_poison_is_retried_parked_and_healed_without_anybody(service, database) -> None:
    user, other = service.user(), service.user()
    database.execute(SET_BALANCE, (POISON_MINOR, user.user_id))
    poisoned = [service.deposit(user, 100) for _ in range(12)]
    job_ids = [reply.document["job_id"] for reply in poisoned]

    def job(job_id: str) -> dict:
        return service.get(f"/jobs/{job_id}")

    until(lambda: all(job(id)["attempts"] for id in job_ids), "a first attempt of each")
    began = time.monotonic()
    assert service.finish(service.deposit(other, 7))["state"] == "SUCCEEDED"
    assert time.monotonic() - began < 3

    waiting = [j for j in map(job, job_ids) if j["state"] == "WAITING"]
    assert {j["reason"] for j in waiting} == {"interrupted: DataError"}
    first = job_ids[0]
    until(lambda: job(first)["attempts"] > 2, "further attempts")
    gaps = database.execute(
        """
SELECT to_state, extract(epoch FROM created_at - lag(created_at) OVER (ORDER BY id))
FROM job_state_logs WHERE job_id = %s ORDER BY id""",
        (first,),
    ).fetchall()
    pauses = [gap for (before, _), (state, gap) in zip(gaps, gaps[1:], strict=False)
              if (before, state) == ("WAITING", "RUNNING")]  # fmt: skip
    assert pauses
    assert all(pause >= 0.1 for pause in pauses), "the backoff was not kept"

    database.execute(USE_UP, (first,))
    until(lambda: job(first)["state"] == "REVIEW", "the parking")
    attempts = job(first)["attempts"]
    database.execute(DUE_NOW, (first,))
    until(lambda: job(first)["attempts"] > attempts, "an attempt out of review")
    until(lambda: job(first)["state"] == "REVIEW", "back in review")
    database.execute(SET_BALANCE, (0, user.user_id))
    database.execute(DUE_NOW, (first,))
    until(lambda: job(first)["state"] == "SUCCEEDED", "the parked job")
    for reply in poisoned:
        assert service.finish(reply)["state"] == "SUCCEEDED"
    assert service.balance(user) == 1_200
