"""The controller of hooks: what the harness calls; the processes of the target join it."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from pathlib import Path
from typing import Self

from fault_injection.hooks.hub import Hub, Message, Peer
from fault_injection.hooks.point import parse_point
from fault_injection.hooks.state import Answers, Arm, OnEvent, State
from fault_injection.hooks.term import parse_term
from harness.core import clock
from harness.core.errors import FaultError, HarnessError, NotUndoneError, UsageError
from harness.core.seeds import Seed
from harness.core.stack import HookEvent, ProcessState
from harness.core.waits import wait_until

BOOT = Path(__file__).parent / "boot"
SOCKET_NAME = "hooks.sock"
ANSWER_SECONDS = 5.0
LEASE_SECONDS = 600.0


def _nobody(_event: HookEvent) -> None:
    """Nobody listens."""


class HookController:
    """Arms hooks in the Python processes that were started with its `environment`.

    `resolver` tells each process where its current trace is: `module:function`, `module:variable`
    for a context variable, or `frames` to look for a header in the callers' variables. `on_event`
    is called for every event before the target goes on.
    """

    def __init__(
        self, *, seed: int = 0, resolver: str = "frames", on_event: OnEvent = _nobody
    ) -> None:
        self._seed = seed
        self._state = State(resolver, on_event)
        self._arm_count = 0
        self._folder: Path | None = None
        self._hub: Hub | None = None
        self._lock = threading.Lock()

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen."""
        # A short name, because the paths of UNIX sockets are short; others may pass through it.
        self._folder = Path(tempfile.mkdtemp(prefix="stormproof-hooks-"))
        self._folder.chmod(0o711)
        self._hub = Hub(self._folder / SOCKET_NAME, self._state)

    def stop(self) -> None:
        """Disarm everything, let go everything; safe to call twice."""
        if self._hub is not None:
            self._hub.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def hub(self) -> Hub:
        """The running hub; raises `HarnessError` before `start`."""
        if self._hub is None:
            raise HarnessError("the hook controller is not started", fix="call start() first")
        return self._hub

    def mounts(self) -> dict[Path, str]:
        """The folders that a container needs, read-only, and where it must find them."""
        if self._folder is None:
            raise HarnessError("the hook controller is not started", fix="call start() first")
        return {BOOT: "/opt/stormproof-hooks", self._folder: "/run/stormproof-hooks"}

    def environment(
        self, process: str, env: Mapping[str, str], *, mounted: bool = False
    ) -> dict[str, str]:
        """`env` for a process of that name to join this controller.

        With `mounted` the process finds the folders where `mounts` says.
        """
        boot, folder = (there if mounted else str(here) for here, there in self.mounts().items())
        return {
            **env,
            "PYTHONPATH": os.pathsep.join(filter(None, [boot, env.get("PYTHONPATH", "")])),
            "STORMPROOF_HOOKS": f"{folder}/{SOCKET_NAME}",
            "STORMPROOF_HOOKS_PROCESS": json.dumps(process),
        }

    # -- hooks ------------------------------------------------------------------------------------

    def arm(
        self,
        point: str,
        term: str,
        *,
        trace: str = "",
        process: str = "",
        shared: bool = False,
        early: bool = False,
        seed: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> str:
        """Arm a hook, in every process or in those of one name; gives the arm's id.

        `trace` aims it at one trace id. With `shared`, a pause may stop a whole event loop. An
        `early` one may be armed before any process has joined. Counts and chance are those of the
        arm, over all processes. Raises `UsageError` for a name that no process knows, `FaultError`
        when no process could be told.
        """
        where, what = parse_point(point), parse_term(term)
        with self._lock:
            self._arm_count += 1
            arm_id = f"hook-{self._arm_count}"
        chance = Seed(self._seed if seed is None else seed, "hooks", point, term).random().random
        expires_ns = clock.monotonic_ns() + int(lease_seconds * 1e9)
        arm = Arm(
            arm_id, where, what, _trace_id(trace), process, shared, chance, expires_ns,
            used=[0] * len(what.steps),
        )  # fmt: skip
        answers = self._order(arm_id, lambda: self._send_arm(arm))
        told = [answer for answer in answers if answer["state"] in ("installed", "waiting")]
        if told or (early and not answers):
            return arm_id
        self.hub.call(lambda: self._state.drop(arm))
        if answers:
            raise UsageError(
                f"no process has this hook: {answers[0]['detail']}",
                value=point,
                where=process or "every process that has joined",
                fix="name a function by the module and name it is written under",
            )
        raise FaultError(
            "no process could be told of a hook",
            value=point,
            where=process or "none has joined",
            fix=f"joined: {', '.join(sorted({p.name for p in self.processes()})) or 'none'}; "
            "start processes with environment(), or arm with early=True",
        )

    def disarm(self, arm_id: str) -> None:
        """Disarm and let go what is held; an unknown id is fine. Raises `NotUndoneError` when a
        process does not confirm it."""
        arm = self._state.arms.get(arm_id)
        if arm is None:
            return
        try:
            self._order(arm_id, lambda: self._state.drop(arm))
        except FaultError as error:
            raise NotUndoneError(
                "a hook may still be armed", value=arm_id, where=error.where, fix=error.fix
            ) from None

    def disarm_all(self) -> None:
        """Disarm everything; raises `NotUndoneError` when a process does not confirm it."""
        for arm_id in list(self._state.arms):
            self.disarm(arm_id)

    def release(self, arm_id: str = "", *, firing: int = 0) -> int:
        """Let go what pauses: all of an arm, one firing, or everything; gives how many."""

        def let_go() -> int:
            held = [each for each in self._state.firings.values() if each.go_at_ns]
            meant = [
                each
                for each in held
                if arm_id in ("", each.arm.id) and firing in (0, each.number)
            ]
            for each in meant:
                self._state.let_go(each, "released")
            return len(meant)

        return self.hub.call(let_go)

    def paused(self, arm_id: str = "") -> Sequence[int]:
        """The numbers of the firings that pause now, in order."""
        return self.hub.call(
            lambda: sorted(
                each.number
                for each in self._state.firings.values()
                if each.go_at_ns and each.step.action == "pause" and arm_id in ("", each.arm.id)
            )
        )

    # -- observing --------------------------------------------------------------------------------

    def records(self, after: int = 0) -> Sequence[HookEvent]:
        """What hooks did, in order, from position `after`; raises when some could not be kept."""
        if self._hub is None or not self._hub.running:
            return self._state.since(after)
        return self.hub.call(lambda: self._state.since(after))

    def hits(self, arm_id: str) -> int:
        """How often an armed hook was reached, fired or not."""
        arm = self._state.arms.get(arm_id)
        return 0 if arm is None else arm.hits

    def processes(self) -> Sequence[ProcessState]:
        """The processes that have joined and still run."""
        peers = self.hub.call(lambda: list(self._state.processes.items()))
        return [ProcessState(name, peer.pid, int(peer.started or 0)) for peer, name in peers]

    def wait_joined(self, process: str, *, count: int = 1, seconds: float = 10.0) -> None:
        """Wait until that many processes of a name have joined."""
        wait_until(
            lambda: sum(each.name == process for each in self.processes()) >= count,
            what=f"{count} of “{process}” to join the hook controller",
            seconds=seconds,
        )

    # -- orders -----------------------------------------------------------------------------------

    def _send_arm(self, arm: Arm) -> list[Peer]:
        self._state.arms[arm.id] = arm
        order: Message = {"arm": arm.order(), "resolver": self._state.resolver}
        return [
            peer
            for peer, name in self._state.processes.items()
            if arm.process in ("", name) and peer.send(order)
        ]

    def _order(self, arm_id: str, send: Callable[[], Sequence[Peer]]) -> list[Message]:
        """Send an order and gather the answers of those who got it."""
        future: Future[list[Message]] = Future()

        def begin() -> None:
            waiting = Answers(future, set())
            self._state.answers[arm_id] = waiting
            waiting.open |= set(send())
            if not waiting.open:
                future.set_result([])

        self.hub.call(begin)
        try:
            return future.result(timeout=ANSWER_SECONDS)
        except NoAnswer:
            silent = self.hub.call(
                lambda: sorted({peer.pid for peer in self._state.answers[arm_id].open})
            )
            raise FaultError(
                f"processes did not answer within {ANSWER_SECONDS:g} s",
                value=arm_id,
                where=f"pid {', '.join(map(str, silent))}",
                fix="a stopped process cannot be told; let it go on first",
            ) from None
        finally:
            self.hub.call(lambda: self._state.answers.pop(arm_id, None))


def _trace_id(trace: str) -> str:
    parts = trace.split("-")
    found = parts[1] if len(parts) == 4 else trace
    if found and (len(found) != 32 or set(found) - set("0123456789abcdef")):
        raise UsageError(
            "not a trace", value=trace[:100], fix="give 32 hexadecimal digits, or a traceparent"
        )
    return found
