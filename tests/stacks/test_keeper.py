"""Processes: restarted when they die, ended with their groups, gone with the harness."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.core.seeds import fresh_id
from harness.core.waits import wait_until
from harness.stacks import guardian
from harness.stacks.processes import Command, Keeper

FOREVER = "import time\nwhile True: time.sleep(60)"


@pytest.fixture
def events() -> list[tuple[str, str, int]]:
    return []


@pytest.fixture
def keeper(events: list[tuple[str, str, int]]) -> Iterator[Keeper]:
    found = Keeper(fresh_id(), lambda *event: events.append(event))
    yield found
    found.close()


def command(name: str, code: str, log: Path, *, restart: bool = False) -> Command:
    return Command(name, [sys.executable, "-c", code], dict(os.environ), log, restart=restart)


def test_a_process_that_dies_is_started_again(
    keeper: Keeper, events: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    first = keeper.start(command("one", FOREVER, tmp_path / "log", restart=True))
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: ("one", "died", first.pid) in events, what="the death noted", seconds=5)
    wait_until(lambda: keeper.alive("one"), what="a new process", seconds=5)
    [state] = keeper.states()
    assert state.pid != first.pid
    assert state.restarts == 1


def test_one_that_may_end_stays_ended(keeper: Keeper, tmp_path: Path) -> None:
    keeper.start(command("one", "raise SystemExit(3)", tmp_path / "log"))
    wait_until(lambda: keeper.exit_code("one") is not None, what="its end", seconds=5)
    assert keeper.exit_code("one") == 3
    assert keeper.states() == []


def test_stop_ends_children_that_outlive_their_parent(keeper: Keeper, tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, signal\n"
        "signal.signal(signal.SIGTERM, lambda *a: os._exit(0))\n"
        f"subprocess.Popen([sys.executable, '-c', {FOREVER!r}])\n"
        "print('ready', flush=True)\n" + FOREVER
    )
    log = tmp_path / "log"
    process = keeper.start(command("parent", code, log))
    wait_until(lambda: "ready" in log.read_text(), what="the child started", seconds=5)
    assert len(guardian.members(process.pid)) == 2
    keeper.stop("parent")
    wait_until(lambda: not guardian.members(process.pid), what="the group gone", seconds=3)


def test_a_missing_program_is_a_clear_error(keeper: Keeper, tmp_path: Path) -> None:
    missing = Command("gone", ["/no/such/program"], {}, tmp_path / "log")
    with pytest.raises(HarnessError) as caught:
        keeper.start(missing)
    assert "/no/such/program" in caught.value.one_line()


def test_close_is_safe_twice_and_leaves_nothing(tmp_path: Path) -> None:
    keeper = Keeper(fresh_id())
    process = keeper.start(command("one", FOREVER, tmp_path / "log"))
    keeper.close()
    keeper.close()
    assert process.poll() is not None


def test_the_guardian_ends_all_and_removes_folders_when_its_pipe_ends(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from harness.stacks.processes import Command, Keeper\n"
        "keeper = Keeper(sys.argv[1])\n"
        "keeper.remove_at_death(Path(sys.argv[2]))\n"
        f"process = keeper.start(Command('one', [sys.executable, '-c', {FOREVER!r}],"
        " dict(os.environ), Path(sys.argv[2]) / 'log'))\n"
        "print(process.pid, flush=True)\n" + FOREVER
    )
    argv = [sys.executable, "-c", code, fresh_id(), str(scratch)]
    harness = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    pid = int(harness.stdout.readline())
    harness.kill()
    harness.wait(5)
    wait_until(lambda: not guardian.start_time(pid) or not guardian.members(pid),
               what="the process gone", seconds=5)  # fmt: skip
    wait_until(lambda: not scratch.exists(), what="the folder gone", seconds=5)
