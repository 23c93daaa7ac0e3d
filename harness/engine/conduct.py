"""One scenario, from its preparation to its proofs."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.core import clock, interrupt
from harness.core.books import Books
from harness.core.cast import Cast
from harness.core.errors import (
    DeadlineError,
    HarnessError,
    NotUndoneError,
    StormproofError,
)
from harness.core.fault import Fault
from harness.core.history import Completed, Outcome
from harness.core.records import ResolutionRecord
from harness.core.scenario import Load, Story
from harness.core.stack import Stack, Unit
from harness.core.waits import Deadline, wait_until
from harness.engine.events import Announcer
from harness.engine.observed import Observation
from harness.engine.recorder import Recorder, unfinished
from load.drivers.locust_process import run_locust
from load.drivers.threads import run_threads
from load.job import LoadJob, LoadResult
from load.perform import Limits, perform
from load.sender import HttpSender

_QUIET_SECONDS = 0.15
_QUIET_SECONDS_MAX = 3.0
_DRAIN_POLL_SECONDS = 0.03
_FINAL_READ_SECONDS = 10.0


@dataclass
class Positions:
    """How far logs, messages and events of the stack were read before a scenario."""

    units: int = 0
    events: int = 0
    partner: int = 0
    logs: dict[str, int] = field(default_factory=dict)


class Conduct:
    """Carries one story out on a running stack, and records everything that the oracle needs."""

    def __init__(
        self,
        story: Story,
        *,
        cast: Cast,
        stack: Stack,
        recorder: Recorder,
        announcer: Announcer,
        deadline: Deadline,
        positions: Positions,
        before: Books,
        proxy_died: threading.Event,
    ) -> None:
        self.story, self.cast, self.stack = story, cast, stack
        self.recorder, self.announcer, self.deadline = recorder, announcer, deadline
        self.positions = positions
        self.before = before
        self._proxy_died = proxy_died
        self.name = cast.scenario
        self._completed: list[Completed] = []
        self._lock = threading.Lock()
        self._units: list[Unit] = []
        self._known: dict[int, dict[str, str]] = {}
        self._applied: list[Fault] = []

    def run(self) -> Books:
        """Everything in order; returns the books at the end.

        Raises `HarnessError` where stormproof could not do its part; faults are healed on every
        way out.
        """
        story = self.story
        self._remember_logs()
        if story.prepare is not None:
            self._phase("prepare", story.prepare)
            # Nobody asks how it was prepared.
            self._drain_units()
        if story.baseline is not None:
            self._phase("baseline", story.baseline)
            self._record_exchanges("baseline", self._drain_units())
        try:
            self._inject()
            self._phase("load", story.load)
        finally:
            with interrupt.shielded():
                self._heal()
        self._settle()
        units = self._drain_units()
        self._record_exchanges("load", units)
        if self._final_reads():
            # A question may be the same request again, and its work must be done, too.
            self._settle()
        after = self._snapshot()
        self._prove(after)
        return after

    # -- load ---------------------------------------------------------------------------------

    def _phase(self, phase: str, load: Load) -> None:
        self.recorder.phase(self.name, phase, "begin")
        before = len(self._completed)
        self.announcer.say(
            "phase",
            f"{phase}: {len(load.numbers)} journeys of {load.workload}, {load.clients} at once",
            phase=phase,
            count=len(load.numbers),
        )

        def record(completed: Completed) -> None:
            self.recorder.operation(self.name, phase, completed)
            with self._lock:
                self._completed.append(completed)
            self.announcer.say(
                "operation", completed.operation.kind, outcome=completed.outcome.value
            )

        job = LoadJob.of(
            load,
            cast=self.cast,
            entries={entry: self.stack.entry_url(entry) for entry in self._entries()},
            target=self.stack.target.spec.folder,
            known=self._known,
            max_seconds=max(1.0, self.deadline.remaining_seconds),
        )
        result = _drive(load.driver, job, self.stack, record, proxy_died=self._proxy_died)
        if self.deadline.passed:
            self.recorder.problem(self.name, f"time ran out in {phase}: see --max-seconds")
        for number, ids in result.known.items():
            self._known.setdefault(number, {}).update(ids)
        for number, reason in sorted(result.stopped.items())[:20]:
            self.recorder.problem(self.name, f"{phase}: journey {number} stopped: {reason}")
        self.recorder.phase(self.name, phase, "end", operations=len(self._completed) - before)

    def _entries(self) -> tuple[str, ...]:
        return self.stack.target.spec.entries

    # -- faults -------------------------------------------------------------------------------

    def _inject(self) -> None:
        for fault in self.story.faults:
            self.recorder.fault(self.name, fault, "intent")
            self._applied.append(fault)
            fault.inject(self.stack)
            self.recorder.fault(self.name, fault, "applied")
        if self.story.faults:
            self.announcer.say("fault", f"{len(self.story.faults)} faults in place")

    def _heal(self) -> None:
        stuck: StormproofError | None = None
        for fault in reversed(self._applied):
            try:
                # A proxy that died took its toxics with it.
                if not self._proxy_died.is_set():
                    fault.heal(self.stack)
            except StormproofError as error:
                stuck = error
                self.recorder.problem(self.name, f"fault {fault.id} not healed: {error.one_line()}")
            else:
                self.recorder.fault(self.name, fault, "healed")
        self._applied.clear()
        if stuck is not None:
            raise NotUndoneError(
                "a fault could not be healed", value=stuck.what, where=self.name, fix=stuck.fix
            )
        if self.story.faults:
            self.announcer.say("fault", "all faults healed")

    def _prove(self, after: Books) -> None:
        seen = Observation(
            self.stack, events_from=self.positions.events, logs_from=self.positions.logs
        )
        seen.take_units(self._units)
        seen.take_books(after, partner_from=self.positions.partner)
        bitten = 0
        for fault in self.story.faults:
            proof = fault.proof(seen)
            bitten += proof.bit
            self.recorder.proof(self.name, fault, proof)
        if self.story.faults:
            self.announcer.say(
                "proof", f"{bitten} of {len(self.story.faults)} faults proved to have bitten"
            )
        self.positions.events = seen.events_position
        self.positions.partner = max((e.seq for e in after.partner_events), default=0)

    # -- messages -----------------------------------------------------------------------------

    def _remember_logs(self) -> None:
        for name in self.stack.log_names():
            self.positions.logs[name] = self.stack.log(name)[1]

    def _drain_units(self) -> list[Unit]:
        """All units since the last call, once no traced one has come for a moment."""
        found: list[Unit] = []
        deadline = Deadline(_QUIET_SECONDS_MAX)
        quiet = Deadline(_QUIET_SECONDS)
        while not quiet.passed and not deadline.passed:
            units, self.positions.units = self.stack.proxies.units(self.positions.units)
            found.extend(units)
            if any(unit.trace for unit in units):
                quiet = Deadline(_QUIET_SECONDS)
            interrupt.check()
            clock.pause(_DRAIN_POLL_SECONDS)
        return found

    def _record_exchanges(self, phase: str, units: list[Unit]) -> None:
        traces = {completed.operation.trace for completed in self._completed}
        self._units.extend(units)
        self.recorder.exchanges(self.name, phase, units, traces)

    # -- end ----------------------------------------------------------------------------------

    def _books(self) -> Books:
        ledger = self.stack.target.door.ledger
        return ledger.books(dsn=self.stack.dsn(), urls=self.stack.direct_urls())

    def _settle(self) -> None:
        """Wait until nothing is left to be driven, for the recovery window at most."""
        window = self.stack.target.door.recovery_window_seconds(self.stack.settings)
        self.recorder.phase(self.name, "settle", "begin")
        self.announcer.say("settle", f"settling, for {window:g} s at most")
        left: list[str] = []

        def quiet() -> bool:
            left[:] = unfinished(self._books())
            return not left

        try:
            wait_until(quiet, what="nothing unfinished", seconds=window, poll_seconds=0.2)
        except DeadlineError:
            # Not ours to judge: the oracle names what is stuck.
            self.announcer.say("settle", f"{len(left)} rows are still unfinished: {left[0]} …")
        self.recorder.phase(self.name, "settle", "end")

    def _final_reads(self) -> bool:
        """Ask about every operation whose outcome no reply told; says whether there was any."""
        unknown = [done for done in self._completed if done.outcome is Outcome.INFO]
        if not unknown:
            return False
        self.recorder.phase(self.name, "final-reads", "begin")
        urls: Mapping[str, str] = {entry: self.stack.entry_url(entry) for entry in self._entries()}
        clients = self.stack.target.door.clients
        limits = Limits(operation_seconds=_FINAL_READ_SECONDS)
        with contextlib.closing(HttpSender(urls)) as send:
            for done in unknown:
                question = clients.final_read(done.operation)
                answer = perform(question, clients, send, limits=limits)
                self.recorder.resolution(
                    ResolutionRecord(
                        self.name,
                        done.operation.id,
                        answer.outcome,
                        answer.reading.subject or done.reading.subject,
                        f"{question.kind} at the end, {len(answer.attempts)} attempts",
                    )
                )
        self.recorder.phase(self.name, "final-reads", "end")
        return True

    def _snapshot(self) -> Books:
        self.recorder.phase(self.name, "snapshot", "begin")
        self.recorder.books(self.name, "before", self.before)
        after = self._books()
        self.recorder.books(self.name, "after", after)
        self.recorder.phase(self.name, "snapshot", "end")
        return after


class _Asked(threading.Event):
    """Whether anybody asked the load to stop: a signal, or the death of the proxy."""

    def __init__(self, proxy_died: threading.Event) -> None:
        super().__init__()
        self._proxy_died = proxy_died

    def is_set(self) -> bool:
        return interrupt.requested.is_set() or self._proxy_died.is_set()


def _drive(
    driver: str,
    job: LoadJob,
    stack: Stack,
    record: Callable[[Completed], None],
    *,
    proxy_died: threading.Event,
) -> LoadResult:
    stop = _Asked(proxy_died)
    # Drivers end by themselves when asked: a signal must not leave their clients behind.
    with interrupt.shielded():
        if driver == "locust":
            result = run_locust(job, stack.spawn, record, stop=stop)
        else:
            clients = stack.target.door.clients
            result = run_threads(job, clients, record, stop=stop)
    interrupt.check()
    if proxy_died.is_set():
        raise HarnessError(
            "the fault proxy died", where="log of proxy", fix="see logs/proxy.log in the run"
        )
    return result


def steady_journey(
    stack: Stack,
    *,
    cast: Cast,
    number: int,
    seconds: float,
    record: Callable[[Completed], None],
    proxy_died: threading.Event,
) -> None:
    """One journey from end to end, which must succeed before anything is broken.

    It moves money, so its operations belong in the journal. Raises `HarnessError` with the reason
    when it does not succeed.
    """
    entries = {entry: stack.entry_url(entry) for entry in stack.target.spec.entries}
    known: dict[int, dict[str, str]] = {}
    for workload in stack.target.spec.steady:
        load = Load(workload, range(number, number + 1), clients=1)
        job = LoadJob.of(
            load,
            cast=cast,
            entries=entries,
            target=Path(stack.target.spec.folder),
            known=known,
            max_seconds=seconds,
        )
        result = _drive(load.driver, job, stack, record, proxy_died=proxy_died)
        if result.stopped:
            raise HarnessError(
                "a journey without any fault did not succeed",
                value=result.stopped[number],
                where=workload,
            )
        known.update({n: {**known.get(n, {}), **ids} for n, ids in result.known.items()})
