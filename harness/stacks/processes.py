"""Processes of a stack: started, watched, restarted and ended from one long-lived thread.

The kernel kills a child when the *thread* that started it ends (parent-death signal), so every
child is started from the same thread, which lives as long as the stack.
"""

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from harness.core import clock
from harness.core.errors import HarnessError
from harness.core.stack import ProcessState
from harness.stacks import guardian
from harness.stacks.privileges import Account

T = TypeVar("T")
OnEvent = Callable[[str, str, int], None]
_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 0.05
_RESTART_SECONDS_MAX = 2.0
_libc = ctypes.CDLL(None, use_errno=True)


def _ignore(_name: str, _event: str, _pid: int) -> None:
    """Nobody listens."""


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Command:
    """What to start: name, arguments, whole environment, where it logs, as whom, and whether a
    supervisor restarts it when it ends. Whoever is `lasting` or restarted is not meant to end."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    account: Account | None = None
    folder: Path | None = None
    restart: bool = False
    lasting: bool = False
    pass_fds: Sequence[int] = ()


@dataclass
class _Child:
    command: Command
    process: subprocess.Popen[bytes]
    started: str
    started_ns: int
    restarts: int = 0
    wanted: bool = True
    restart_at_ns: int = 0


class Keeper:
    """Starts and watches the processes of one run, and tells the guardian about each."""

    def __init__(self, run_id: str, on_event: OnEvent | None = None) -> None:
        self.run_id = run_id
        self._on_event = on_event or _ignore
        self._children: dict[str, _Child] = {}
        self._lock = threading.Lock()
        self._orders: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._guardian, self._pipe = self._start_guardian()
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._thread.start()

    def _start_guardian(self) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        argv = [sys.executable, "-I", "-S", guardian.__file__, self.run_id]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        return process, process.stdin

    def _tell(self, **order: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(json.dumps(order).encode() + b"\n")
            self._pipe.flush()

    def remove_at_death(self, folder: Path) -> None:
        """Have the guardian remove a folder if the harness dies."""
        self._tell(do="remove", folder=str(folder))

    def run_at_death(self, argv: Sequence[str]) -> None:
        """Have the guardian run a command if the harness dies."""
        self._tell(do="command", argv=list(argv))

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a process in a group of its own; raises `HarnessError` if it cannot be started."""
        return self._in_thread(lambda: self._start(command, restarts=0))

    def _in_thread(self, work: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def order() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._orders.put(order)
        return future.result(timeout=30)

    def _start(self, command: Command, *, restarts: int) -> subprocess.Popen[bytes]:
        account = command.account
        identity = (
            {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        )
        try:
            with command.log.open("ab") as log:
                process = subprocess.Popen(
                    list(command.argv),
                    env={**command.env, "STORMPROOF_RUN_ID": self.run_id},
                    cwd=command.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    preexec_fn=_die_with_parent,
                    pass_fds=tuple(command.pass_fds),
                    **identity,
                )
        except OSError as error:
            raise HarnessError(
                f"process “{command.name}” cannot be started",
                value=str(error),
                where=str(command.argv[0]),
                fix="check that the program exists and may be run",
            ) from None
        started = guardian.start_time(process.pid)
        self._tell(do="watch", pgid=process.pid, started=started)
        with self._lock:
            self._children[command.name] = _Child(
                command, process, started, clock.monotonic_ns(), restarts
            )
        self._on_event(command.name, "restarted" if restarts else "started", process.pid)
        return process

    def _work(self) -> None:
        while True:
            try:
                order = self._orders.get(timeout=_WATCH_SECONDS)
            except queue.Empty:
                self._watch_all()
                continue
            if order is None:
                return
            order()

    def _watch_all(self) -> None:
        with self._lock:
            children = list(self._children.values())
        for child in children:
            # The end of this thread would end every child, so nothing may end it: what cannot be
            # done now is tried again at the next look.
            with contextlib.suppress(HarnessError, OSError):
                self._watch(child, clock.monotonic_ns())

    def _watch(self, child: _Child, now: int) -> None:
        if not child.wanted or child.process.poll() is None:
            return
        if child.restart_at_ns == 0:
            meant = not (child.command.restart or child.command.lasting)
            event = "ended" if meant else "died"
            self._on_event(child.command.name, event, child.process.pid)
            self._tell(do="forget", pgid=child.process.pid)
            pause = min(0.1 * 2 ** min(child.restarts, 10), _RESTART_SECONDS_MAX)
            child.restart_at_ns = now + int(pause * 1e9)
            child.wanted = child.command.restart
        elif now >= child.restart_at_ns:
            # The group may have outlived its leader (a pool's children): end it first.
            guardian.kill_group(child.process.pid, "")
            self._start(child.command, restarts=child.restarts + 1)

    def alive(self, name: str) -> bool:
        """Whether a process runs now."""
        with self._lock:
            child = self._children.get(name)
        return child is not None and child.process.poll() is None

    def exit_code(self, name: str) -> int | None:
        """How a process ended, or None while it runs or was never started."""
        with self._lock:
            child = self._children.get(name)
        return None if child is None else child.process.poll()

    def states(self) -> list[ProcessState]:
        """The processes that run now."""
        with self._lock:
            children = list(self._children.items())
        return [
            ProcessState(name, child.process.pid, child.started_ns, child.restarts)
            for name, child in children
            if child.process.poll() is None
        ]

    def stop(self, name: str, *, number: int = signal.SIGTERM, seconds: float = 3.0) -> None:
        """End a process and its group: ask, wait, then kill. It is not restarted."""
        with self._lock:
            child = self._children.get(name)
        if child is None:
            return
        child.wanted = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(seconds)
        guardian.kill_group(child.process.pid, child.started)
        child.process.wait(5)
        self._tell(do="forget", pgid=child.process.pid)

    def close(self) -> None:
        """Kill everything that is left, then dismiss the guardian. Safe to call twice."""
        if not self._thread.is_alive():
            return
        with self._lock:
            children = list(self._children.values())
        for child in children:
            child.wanted = False
            guardian.kill_group(child.process.pid, child.started)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(5)
        for pid in guardian.marked(self.run_id):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._orders.put(None)
        self._thread.join(5)
        self._tell(do="done")
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._guardian.wait(5)
