"""One load job in one process: what threads and Locust users share.

A driver makes the session, runs `run_client` once per client in whatever it has for concurrency,
and calls `supervise`, which returns when all clients are done, time is over or a stop was asked.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.core import clock
from harness.core.errors import HarnessError, StormproofError
from harness.core.history import Attempt, Completed, Operation
from harness.core.target import Clients
from harness.core.waits import Deadline, wait_until
from load.job import LoadJob, LoadResult
from load.perform import Limits, perform
from load.sender import HttpSender
from load.workload import JourneyStopped, workload_named

Record = Callable[[Completed], None]
Observe = Callable[[Operation, Attempt], None]
_GRACE_SECONDS = 5.0


class Session:
    """The journeys of a job, handed out to clients, and what became of them."""

    def __init__(
        self, job: LoadJob, clients: Clients, record: Record, *, observe: Observe | None = None
    ) -> None:
        self.job = job
        self.width = min(job.clients, len(job.numbers))
        self._clients, self._record, self._observe = clients, record, observe
        self._workload = workload_named(job.workload)
        self._senders = [HttpSender(job.entries) for _ in range(self.width)]
        self._start_line = threading.Barrier(self.width)
        self._halt = threading.Event()
        self._reason = ""
        self._lock = threading.Lock()
        self._waiting = iter(enumerate(job.numbers))
        self._running = self.width
        self._known: dict[int, dict[str, str]] = {}
        self._stopped: dict[int, str] = {}
        self._error: Exception | None = None
        self._deadline = Deadline(job.max_seconds)
        self._started_ns = clock.monotonic_ns()

    def run_client(self, client: int) -> None:
        """Let client number `client` do journeys until none is left."""
        try:
            for number in self._numbers_of(client):
                self._run_journey(number, self._senders[client])
        except Exception as error:
            self._error = self._error or error
            self._end("a client of the load failed")
        finally:
            self._senders[client].close()
            with self._lock:
                self._running -= 1

    def supervise(self, asked_to_stop: Callable[[], bool]) -> LoadResult:
        """Wait for the clients, end them in time, and say what became of every journey.

        Raises what a client raised, and `DeadlineError` when clients do not end.
        """
        try:
            wait_until(
                lambda: not self._running or self._deadline.passed or asked_to_stop(),
                what="the clients of the load",
                seconds=self.job.max_seconds + _GRACE_SECONDS,
            )
        except BaseException:
            self._end("the harness was interrupted")
            raise
        if self._running:
            self._end(self._time_is_over() or "a stop was asked for")
        wait_until(
            lambda: not self._running,
            what="the clients of the load to end when told to",
            seconds=_GRACE_SECONDS,
            on_timeout=lambda: f"{self._running} of {self.width} clients still run",
        )
        if self._error:
            raise self._error
        for number in self.job.numbers:
            if number not in self._known:
                self._stopped.setdefault(number, f"not started: {self._reason or 'unknown'}")
        return LoadResult(self._known, self._stopped, self._started_ns, clock.monotonic_ns())

    def _numbers_of(self, client: int) -> Iterator[int]:
        try:
            self._start_line.wait()
            if self.job.in_rounds:
                yield from self._numbers_in_rounds(client)
                return
            while not self._must_end():
                with self._lock:
                    turn = next(self._waiting, None)
                if turn is None:
                    return
                self._wait_for_turn(turn[0])
                yield turn[1]
        except threading.BrokenBarrierError:
            return

    def _wait_for_turn(self, position: int) -> None:
        if self.job.per_second:
            passed_seconds = (clock.monotonic_ns() - self._started_ns) / 1e9
            self._halt.wait(max(0.0, position / self.job.per_second - passed_seconds))

    def _numbers_in_rounds(self, client: int) -> Iterator[int]:
        numbers = self.job.numbers
        for first in range(0, len(numbers), self.width):
            if first:
                self._start_line.wait()
            if first + client < len(numbers):
                yield numbers[first + client]

    def _run_journey(self, number: int, sender: HttpSender) -> None:
        journey = self._workload(self.job.cast, number, self.job.known, self.job.params)
        try:
            operation = next(journey)
            while True:
                if self._must_end():
                    raise JourneyStopped(f"before {operation.kind}")
                completed = self._perform(operation, sender)
                self._record(completed)
                operation = journey.send(completed)
        except StopIteration as end:
            self._known[number] = end.value or {}
        except JourneyStopped as stopped:
            self._stopped[number] = (
                f"{self._reason}: {stopped}" if self._must_end() else str(stopped)
            )
        except StormproofError:
            raise
        except Exception as error:
            raise HarnessError(
                "a journey failed in the workload, the target's clients or the recorder",
                value=f"{type(error).__name__}: {error}",
                where=f"{self.job.workload}, journey {number} of {self.job.cast.scenario}",
                fix="this is a defect of the harness or of the target's door",
            ) from error

    def _perform(self, operation: Operation, sender: HttpSender) -> Completed:
        return perform(
            operation,
            self._clients,
            sender,
            limits=self._limits(),
            stop=self._halt,
            observe=self._observe,
        )

    def _limits(self) -> Limits:
        limits, left_seconds = self.job.limits, self._deadline.remaining_seconds
        if left_seconds >= limits.operation_seconds:
            return limits
        return replace(limits, operation_seconds=left_seconds)

    def _time_is_over(self) -> str:
        return f"{self.job.max_seconds:g} s are over" if self._deadline.passed else ""

    def _must_end(self) -> bool:
        if self._deadline.passed:
            self._end(self._time_is_over())
        return self._halt.is_set()

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._halt.set()
        self._start_line.abort()
        for sender in self._senders:
            sender.abort()
