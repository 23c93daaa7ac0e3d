"""The workloads against the reference service, through the stack's proxies, by both drivers."""

from collections import Counter

import pytest

from harness.core.history import Completed, Outcome
from load.drivers.locust_process import run_locust
from load.drivers.threads import run_threads
from load.job import LoadJob

CLIENTS = 4


@pytest.mark.stack
def test_every_workload_by_threads_and_by_locust(stack) -> None:
    cast, clients = stack.cast("drivers", slot=902), stack.target.door.clients

    def job(workload: str, numbers: range, **more: object) -> LoadJob:
        return LoadJob(
            workload=workload,
            numbers=tuple(numbers),
            clients=CLIENTS,
            cast=cast,
            entries=stack.entry_urls(),
            target=stack.target.spec.folder,
            **more,
        )

    done: list[Completed] = []
    opened = run_threads(job("open-investments", range(8)), clients, done.append)
    assert opened.stopped == {}
    contended = run_threads(
        job(
            "execute-one-investment",
            range(2 * CLIENTS),
            in_rounds=True,
            params={"clients": str(CLIENTS)},
            known=opened.known,
        ),
        clients,
        done.append,
    )
    assert contended.stopped == {}
    executed = run_locust(
        job("execute-investments", range(2, 8), known=opened.known), stack.stack.spawn, done.append
    )
    assert executed.stopped == {}
    outcomes = Counter((each.operation.kind, each.outcome) for each in done)
    # Journey 2 asks again for all that it has, journey 3 for something else with an old key. One
    # key for all: everybody is told of the same job, and waits for it. A key each: one wins.
    assert outcomes == {
        ("create-user", Outcome.OK): 8 + 1,
        ("fund", Outcome.OK): 8 + 1,
        ("await-job", Outcome.OK): 8 + (CLIENTS + 1) + 6,
        ("create-investment", Outcome.OK): 8 + 1,
        ("create-investment", Outcome.FAIL): 1,
        ("execute-investment", Outcome.OK): CLIENTS + 1 + 6,
        ("execute-investment", Outcome.FAIL): CLIENTS - 1,
    }
