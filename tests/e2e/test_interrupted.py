"""Signals and accidents: everything is healed and stopped, and the exit code says what it was."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.exit_codes import ExitCode
from harness.core.waits import wait_until
from tests.e2e.conftest import STORMPROOF, living, processes_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def started(runs: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [STORMPROOF, "run", "partner-reply-lost", "--seed", "8", "--runs", str(runs)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "COLUMNS": "160", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"ended without {words!r}:\n{seen}")


def run_id_of(text: str) -> str:
    found = re.search(r"\(([0-9a-f]{6})\)", text)
    assert found, text
    return found[1]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED),
        pytest.param(signal.SIGTERM, ExitCode.TERMINATED, marks=pytest.mark.long),
    ],
)
def test_a_signal_under_load_heals_and_stops(
    started: subprocess.Popen[str], runs: Path, number: int, code: ExitCode
) -> None:
    seen = read_until(started, "load: ")
    run_id = run_id_of(seen)
    started.send_signal(number)
    out, _ = started.communicate(timeout=40)
    assert started.returncode == code, seen + out
    assert processes_of(run_id) == []
    journal = (runs / "latest" / "journal.ndjson").read_text()
    assert journal.count('"event":"healed"') == journal.count('"event":"applied"') > 0
    assert (runs / "latest" / "run.json").exists()


@pytest.mark.long
@pytest.mark.parametrize("victim", ["investment sweeper", "fault_injection.proxy"])
def test_a_process_that_dies_by_itself_is_never_green(
    started: subprocess.Popen[str], runs: Path, victim: str
) -> None:
    run_id = run_id_of(read_until(started, "prepare: "))
    [pid] = [pid for pid, line in living(run_id) if victim in line]
    os.kill(pid, signal.SIGKILL)
    out, _ = started.communicate(timeout=100)
    assert started.returncode not in (ExitCode.PASS, ExitCode.FAIL), out
    assert "died, and no fault had ended it" in (runs / "latest" / "run.json").read_text()
    assert processes_of(run_id) == []


def test_a_signal_while_booting_stops_everything(started: subprocess.Popen[str]) -> None:
    run_id = run_id_of(read_until(started, "starting the embedded stack"))
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=40)
    assert started.returncode == ExitCode.INTERRUPTED
    assert processes_of(run_id) == []


@pytest.mark.parametrize(
    "words",
    [
        "starting the embedded stack",
        pytest.param("prepare: ", marks=pytest.mark.long),
        pytest.param("load: ", marks=pytest.mark.long),
    ],
)
def test_when_the_harness_is_killed_nothing_is_left_after_5_seconds(
    started: subprocess.Popen[str], words: str
) -> None:
    run_id = run_id_of(read_until(started, words))
    wait_until(lambda: len(processes_of(run_id)) >= 2, what="processes of the run", seconds=10)
    started.kill()
    started.wait(10)
    wait_until(lambda: not processes_of(run_id), what="all processes of the run gone", seconds=5)
