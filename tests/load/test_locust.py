"""The Locust driver: a process of its own that does what the threads do."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core import clock
from harness.core.errors import HarnessError
from harness.core.history import Completed, Outcome
from harness.core.target import Clients
from harness.core.waits import Deadline
from load.drivers.locust_process import run_locust
from load.drivers.threads import run_threads
from load.job import LoadJob
from tests.load.service.server import TinyService

MakeJob = Callable[..., LoadJob]


def test_does_what_threads_do(
    service: TinyService,
    clients: Clients,
    done: list[Completed],
    make_job: MakeJob,
    spawn: Callable,
) -> None:
    opened = run_threads(make_job("open-investments"), clients, lambda _: None)
    service.trouble["execute"] = ["reset", "refuse", "cut"]
    before_ns = clock.monotonic_ns()
    result = run_locust(make_job("execute-investments", known=opened.known), spawn, done.append)
    assert sorted(result.known) == list(range(12))
    assert all(set(learned) == {"job"} for learned in result.known.values())
    assert result.stopped == {}
    # Journeys 0 and 10 repeat their execution with the old key.
    assert len(done) == 12 * 2 + 2
    assert {each.outcome for each in done} == {Outcome.OK}
    repeated = [d for d in done if d.operation.kind == "execute-investment" and d.attempts[1:]]
    assert len(repeated) == 3
    assert set(service.applied.values()) == {1}
    assert all(before_ns < d.sent_ns <= d.done_ns < clock.monotonic_ns() for d in done)
    assert done[0].operation.secret, "later reads need the secret"
    assert done[0].body.startswith(b"{")


def test_users_start_at_once(
    service: TinyService, done: list[Completed], make_job: MakeJob, spawn: Callable
) -> None:
    result = run_locust(make_job("open-investments", count=20, clients=20), spawn, done.append)
    assert len(result.known) == 20
    first = [d.sent_ns for d in done if d.operation.kind == "create-user"]
    assert (max(first) - min(first)) / 1e9 < 0.5


@pytest.mark.parametrize("way", ["time", "stop"])
def test_what_was_sent_but_not_finished_is_recorded_as_unknown(
    service: TinyService, done: list[Completed], make_job: MakeJob, spawn: Callable, way: str
) -> None:
    service.trouble["deposits"] = ["hang"] * 4
    stop = threading.Event()

    def record(completed: Completed) -> None:
        done.append(completed)
        if way == "stop" and len(done) == 4:
            stop.set()

    deadline = Deadline(60)
    job = make_job("open-investments", max_seconds=1.0 if way == "time" else 40)
    result = run_locust(job, spawn, record, stop=stop)
    assert 60 - deadline.remaining_seconds < 12
    assert sorted(result.stopped) == list(range(12))
    hung = [each for each in done if each.operation.kind == "fund"]
    assert len(hung) == 4
    assert {each.outcome for each in hung} == {Outcome.INFO}


def test_a_process_that_dies_is_an_error_with_its_log(
    service: TinyService, done: list[Completed], make_job: MakeJob, spawn: Callable
) -> None:
    service.trouble["deposits"] = ["hang"] * 4

    def record(completed: Completed) -> None:
        done.append(completed)
        if len(done) == 4:
            spawn.started[0].send_signal(signal.SIGKILL)

    with pytest.raises(HarnessError, match=r"without a result.*exit code -9.*Starting Locust"):
        run_locust(make_job("open-investments", max_seconds=30), spawn, record)


def test_a_target_that_cannot_be_loaded_is_an_error(
    service: TinyService, make_job: MakeJob, spawn: Callable
) -> None:
    job = make_job("open-investments")
    broken = LoadJob(**{**vars(job), "target": Path("/nowhere")})
    with pytest.raises(HarnessError, match=r"it reports: no target there"):
        run_locust(broken, spawn, lambda _: None)


def test_nothing_else_imports_locust() -> None:
    import load.contract  # noqa: F401
    import load.drivers.locust_process  # noqa: F401

    assert "locust" not in sys.modules
    assert "gevent" not in sys.modules
