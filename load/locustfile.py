"""The Locust side of a load: every user takes the next journey until none is left, then it quits.

Started by `load.drivers.locust_process`, which names in the environment the job's file and two
inherited pipes: one for results, and one whose end of file means stop.
"""

import os
import select
import signal
from pathlib import Path

import gevent  # type: ignore[import-untyped]
from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser

from harness.core.history import Attempt, Completed, Operation
from harness.core.target import load_target
from load.drivers.stream import failure_line, operation_line, result_line
from load.job import LoadJob
from load.session import Observe, Session

_MILLION = 1_000_000


class _Pipe:
    """The results pipe; whole lines only, whichever greenlet writes."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[self._file.write(view) :]

    def record(self, completed: Completed) -> None:
        self.write(operation_line(completed))


class MoneyUser(User):
    """One client of the session."""

    session: Session
    next_client = 0

    def on_start(self) -> None:
        self.client_number = MoneyUser.next_client
        MoneyUser.next_client += 1

    @task
    def journeys(self) -> None:
        """Do journeys until none is left."""
        self.session.run_client(self.client_number)
        raise StopUser


@events.init.add_listener
def _prepare(environment: Environment, **_: object) -> None:
    environment.process_exit_code = 0
    pipe = _Pipe(int(os.environ["STORMPROOF_LOAD_RESULTS_FD"]))
    control = int(os.environ["STORMPROOF_LOAD_CONTROL_FD"])
    # The harness decides when a load ends: Ctrl-C in a terminal reaches this process too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        job = LoadJob.from_json(Path(os.environ["STORMPROOF_LOAD_JOB"]).read_bytes())
        clients = load_target(job.target).door.clients
        MoneyUser.session = Session(job, clients, pipe.record, observe=_observe(environment))
    except Exception as error:
        pipe.write(failure_line(error))
        raise
    gevent.spawn(_supervise, environment, pipe, control)


def _observe(environment: Environment) -> Observe:
    def observe(operation: Operation, attempt: Attempt) -> None:
        failed = attempt.status is None or attempt.status >= 500
        environment.events.request.fire(
            request_type="HTTP",
            name=operation.kind,
            response_time=(attempt.done_ns - attempt.sent_ns) / _MILLION,
            response_length=0,
            exception=RuntimeError(attempt.error or f"status {attempt.status}") if failed else None,
            context={},
        )

    return observe


def _supervise(environment: Environment, pipe: _Pipe, control: int) -> None:
    def asked_to_stop() -> bool:
        return bool(select.select([control], [], [], 0)[0])

    try:
        line = result_line(MoneyUser.session.supervise(asked_to_stop))
    except Exception as error:
        line = failure_line(error)
    pipe.write(line)
    if environment.runner:
        environment.runner.quit()
