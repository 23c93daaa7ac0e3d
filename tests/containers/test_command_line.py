"""The command line on containers: what goes wrong is told, and nothing is left."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.exit_codes import ExitCode

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]
STORMPROOF = str(Path(sys.executable).with_name("stormproof"))


def containers_of(run_id: str) -> str:
    argv = ["docker", "ps", "--all", "--quiet", "--filter", f"label=stormproof.run={run_id}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_a_published_port_in_use(tmp_path: Path, images: object) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        argv = [STORMPROOF, "run", "partner-reply-lost", "--stack", "compose"]
        done = subprocess.run(
            [*argv, "--runs", str(tmp_path / "runs")], capture_output=True, text=True,
            env={**os.environ, "STORMPROOF_PROXY_PORT": port},
        )  # fmt: skip
    assert done.returncode == ExitCode.HARNESS, done.stdout + done.stderr
    assert "compose could not start the stack" in done.stdout
    assert port in done.stdout
    run_dir = (tmp_path / "runs" / "latest").resolve()
    assert containers_of(run_dir.name.rsplit("-", 1)[1]) == ""
