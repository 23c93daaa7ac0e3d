"""The life of a run: plan, stack, steady state, scenarios, seal, verdict, report."""

import contextlib
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.core import clock, interrupt
from harness.core.books import Books
from harness.core.cast import Cast
from harness.core.errors import (
    HarnessError,
    InterruptedRun,
    NotUndoneError,
    SteadyStateError,
    StormproofError,
)
from harness.core.exit_codes import ExitCode, strongest
from harness.core.fault import Fault
from harness.core.history import Completed
from harness.core.journal import Journal
from harness.core.records import FaultPlan, LoadPlan, PlanRecord, ScenarioPlan
from harness.core.run_record import RunRecord
from harness.core.scenario import Plan, Story, scenarios
from harness.core.stack import Stack
from harness.core.target import Target
from harness.core.waits import Deadline
from harness.engine.conduct import Conduct, Positions, steady_journey
from harness.engine.events import Announcer, Listener
from harness.engine.logs import copy_logs, machine_paths, redact
from harness.engine.recorder import Recorder

_STEADY_SECONDS = 30.0
OnProcess = Callable[[str, str, int], None]


@dataclass(frozen=True)
class RunOptions:
    """What was asked for, resolved: names are known to exist."""

    scenario_names: tuple[str, ...]
    profile: str
    seed: int
    stack_kind: str
    variant: str
    max_seconds: float
    command: str
    run_id: str
    folder: Path
    commit: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    unused_scenarios: tuple[str, ...] = ()
    known_faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tools:
    """What the composition root hands the engine: how to make a stack, to judge and to render."""

    make_stack: Callable[[OnProcess], Stack]
    judge: Callable[[Path], RunRecord]
    render: Callable[[Path], Sequence[Path]]


class Run:
    """One run, from its plan to its report."""

    def __init__(self, target: Target, options: RunOptions, tools: Tools) -> None:
        self.target, self.options, self.tools = target, options, tools
        self.announcer = Announcer([])
        self._proxy_died = threading.Event()
        self.deadline = Deadline(options.max_seconds)
        self.stories = self._write_stories()

    def _cast(self, name: str, slot: int) -> Cast:
        return Cast(self.options.seed, name, slot)

    def _write_stories(self) -> dict[str, tuple[Cast, Story]]:
        found = {}
        # Slot 0 is the steady-state journeys'.
        for slot, name in enumerate(self.options.scenario_names, start=1):
            cast = self._cast(name, slot)
            function = scenarios.get(name).value
            found[name] = (cast, function(Plan(cast, self.target.spec.entries)))
        return found

    def _used_faults(self) -> set[str]:
        return {_fault_name(fault) for _, story in self.stories.values() for fault in story.faults}

    def execute(self, listeners: Sequence[Listener] = ()) -> RunRecord:
        """Carry the run out; never raises for what can be told in the run's record."""
        self.announcer = Announcer(list(listeners))
        plan = self._plan()
        try:
            self.options.folder.mkdir(parents=True)
            journal = Journal(self.options.folder / "journal.ndjson")
        except OSError as error:
            raise HarnessError(
                "the run directory cannot be written",
                value=str(error),
                where=str(self.options.folder),
                fix="check permissions and free space, or give --runs another folder",
            ) from None
        recorder = Recorder(journal)
        try:
            self._live(recorder, plan)
        except InterruptedRun as stop:
            reason = f"a signal asked the run to end ({stop.exit_code.name.lower()})"
            recorder.write("interrupted", {"exit_code": int(stop.exit_code), "reason": reason})
            self.announcer.say("problem", "interrupted: healed and stopped everything")
        except StormproofError as error:
            self._record_error(recorder, error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it must not look like a verdict
            self._keep_trace(error)
            self._record_error(recorder, _unexpected(error))
        with interrupt.shielded():
            journal.seal()
            return self._conclude()

    def _keep_trace(self, error: BaseException) -> None:
        logs = self.options.folder / "logs"
        with contextlib.suppress(OSError):
            logs.mkdir(exist_ok=True)
            text = "".join(traceback.format_exception(error))
            (logs / "harness.log").write_text(redact(text, machine_paths(self.target)), "utf-8")

    def _record_error(self, recorder: Recorder, error: StormproofError) -> None:
        if isinstance(error, NotUndoneError):
            recorder.problem("", error.one_line())
        else:
            parts = {"what": error.what, "value": error.value[:2000], "where": error.where}
            recorder.write("harness", {**parts, "fix": error.fix})
        self.announcer.say("problem", error.one_line())

    def _conclude(self) -> RunRecord:
        """Judge, and keep what follows; no trouble in keeping it may hide the verdict."""
        self.announcer.say("sealed", "journal sealed; judging and writing the report")
        record = self.tools.judge(self.options.folder)
        try:
            path = self.options.folder / "run.json"
            path.write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
            self._point_latest()
            self.tools.render(self.options.folder)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self._keep_trace(error)
            self.announcer.say("problem", _unexpected(error).one_line())
            code = strongest([ExitCode(record.exit_code), ExitCode.HARNESS])  # type: ignore[call-arg]
            record = record.model_copy(update={"exit_code": int(code)})
        return record

    def _point_latest(self) -> None:
        """Swap the link in one step: two runs may end at the same moment."""
        folder = self.options.folder
        fresh = folder.parent / f".latest-{self.options.run_id}"
        fresh.symlink_to(folder.name)
        fresh.replace(folder.parent / "latest")

    def _live(self, recorder: Recorder, plan: PlanRecord) -> None:
        recorder.write("plan", plan)
        recorder.write("rules", self.target.door.rules)
        self.announcer.say("plan", f"seed {self.options.seed}")

        def on_process(name: str, event: str, pid: int) -> None:
            recorder.write("process", {"name": name, "event": event, "pid": pid})
            if event == "died" and name == "proxy":
                self._proxy_died.set()
            if event == "died":
                # No fault so far ends a process, so this is no part of any story.
                recorder.problem("", f"process {name} died, and no fault had ended it")
                self.announcer.say("problem", f"process {name} died, and no fault had ended it")

        stack = self.tools.make_stack(on_process)
        self.announcer.say("stack", f"starting the {stack.kind} stack")
        try:
            started = clock.monotonic_ns()
            stack.up()
            seconds = (clock.monotonic_ns() - started) / 1e9
            self.announcer.say("stack", f"stack is up after {seconds:.1f} s")
            self._run_scenarios(stack, recorder)
        finally:
            with interrupt.shielded():
                self._take_down(stack, recorder)

    def _take_down(self, stack: Stack, recorder: Recorder) -> None:
        try:
            copy_logs(stack, self.options.folder / "logs")
        except (OSError, HarnessError) as error:
            recorder.problem("", f"the logs could not be kept: {error}")
        finally:
            stack.down()

    def _run_scenarios(self, stack: Stack, recorder: Recorder) -> None:
        positions = Positions()
        before = Books()
        steady = self._cast("steady-state", 0)
        for number, (name, (cast, story)) in enumerate(self.stories.items()):
            self._require_steady_state(stack, steady, number, recorder)
            before = before if number else self._books(stack)
            if self.deadline.passed:
                recorder.problem(name, f"not run: {self.options.max_seconds:g} s were over")
                continue
            self.announcer.say("scenario", name, number=number + 1, of=len(self.stories))
            conduct = Conduct(
                story,
                cast=cast,
                stack=stack,
                recorder=recorder,
                announcer=self.announcer,
                deadline=self.deadline,
                positions=positions,
                before=before,
                proxy_died=self._proxy_died,
            )
            before = conduct.run()

    def _books(self, stack: Stack) -> Books:
        return self.target.door.ledger.books(dsn=stack.dsn(), urls=stack.direct_urls())

    def _require_steady_state(
        self, stack: Stack, cast: Cast, number: int, recorder: Recorder
    ) -> None:
        def record(completed: Completed) -> None:
            recorder.operation(cast.scenario, "steady", completed)

        seconds = min(_STEADY_SECONDS, max(1.0, self.deadline.remaining_seconds))
        try:
            steady_journey(
                stack,
                cast=cast,
                number=number,
                seconds=seconds,
                record=record,
                proxy_died=self._proxy_died,
            )
        except HarnessError as error:
            raise SteadyStateError(
                "no steady state: " + error.what,
                value=error.value,
                where=error.where,
                fix="the target does not work without any fault; see the logs of the run",
            ) from None
        self.announcer.say("steady", "steady state: one journey succeeded from end to end")

    def _plan(self) -> PlanRecord:
        options = self.options
        # Asked for, but not possible on this target: the report must say that they were not run.
        dropped = [name for name in options.scenario_names if name not in self.stories]
        window = self.target.door.recovery_window_seconds(self.target.spec.settings)
        return PlanRecord(
            run_id=options.run_id,
            seed=options.seed,
            profile=options.profile,
            target=self.target.spec.name,
            stack=options.stack_kind,
            command=options.command,
            started_at=clock.utc_text(clock.utc_now()),
            recovery_window_ms=int(window * 1000),
            scenarios=tuple(
                _scenario_plan(name, story) for name, (_, story) in self.stories.items()
            ),
            variant=options.variant,
            commit=options.commit,
            versions=dict(options.versions),
            settings=dict(self.target.spec.settings),
            unused_scenarios=(*options.unused_scenarios, *dropped),
            unused_faults=tuple(sorted(set(options.known_faults) - self._used_faults())),
        )


def _fault_name(fault: Fault) -> str:
    return str(getattr(type(fault), "fault_name", type(fault).__name__))


def _scenario_plan(name: str, story: Story) -> ScenarioPlan:
    entry = scenarios.get(name)
    load = story.load
    return ScenarioPlan(
        name=name,
        summary=entry.summary,
        question=entry.doc,
        invariants=story.invariants,
        faults=tuple(_fault_plan(fault) for fault in story.faults),
        operations_min=story.operations_min,
        load=LoadPlan(load.workload, load.clients, load.driver, len(load.numbers)),
    )


def _fault_plan(fault: Fault) -> FaultPlan:
    parameters = dict(fault.describe())
    return FaultPlan(fault.id, _fault_name(fault), fault.link, fault.operation, parameters)


def _unexpected(error: BaseException) -> HarnessError:
    frames = traceback.extract_tb(error.__traceback__)
    # The last frame of ours says more than one of a library.
    ours = [frame for frame in frames if "site-packages" not in frame.filename][-1:] or frames[-1:]
    where = f"{Path(ours[0].filename).name}:{ours[0].lineno}" if ours else ""
    return HarnessError(
        "an unexpected error of stormproof",
        value=f"{type(error).__name__}: {error}",
        where=where,
        fix="this is a bug of ours: please report it with the run directory; see logs/harness.log",
    )
