"""The command line as a user runs it: a process, its output, its exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

STORMPROOF = str(Path(sys.executable).with_name("stormproof"))
SECONDS_MAX = 150


@dataclass(frozen=True)
class Ended:
    """How a command ended. `run_dir` is the run directory it made, if any."""

    code: int
    out: str
    err: str
    run_dir: Path | None

    def record(self) -> dict:  # type: ignore[type-arg]
        """The run's record."""
        assert self.run_dir is not None, self.out + self.err
        return json.loads((self.run_dir / "run.json").read_text())


Command = Callable[..., Ended]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where this test's runs go."""
    return tmp_path / "runs"


@pytest.fixture
def stormproof(runs: Path) -> Command:
    """Run the command line to its end; `run` gets this test's folder for runs."""

    def command(
        *arguments: str, env: dict[str, str] | None = None, folder: Path | None = None
    ) -> Ended:
        argv = [STORMPROOF, *arguments]
        if arguments and arguments[0] == "run" and "--runs" not in arguments:
            argv += ["--runs", str(runs)]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=SECONDS_MAX, cwd=folder,
            env={**os.environ, "COLUMNS": "160", **(env or {})},
        )  # fmt: skip
        latest = runs / "latest"
        return Ended(
            done.returncode, done.stdout, done.stderr, latest.resolve() if latest.exists() else None
        )

    return command


def processes_of(run_id: str) -> list[str]:
    """Command lines of living processes that carry a run's id in their environment."""
    return [line for _, line in living(run_id)]


def living(run_id: str) -> list[tuple[int, str]]:
    """Pids and command lines of those processes."""
    needle = f"STORMPROOF_RUN_ID={run_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_text().replace("\0", " ")
                    found.append((int(entry.name), line))
            except OSError:
                continue
    return found
