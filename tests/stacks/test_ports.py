"""Ports: no two runs are given the same one, however long their servers take to bind it."""

import subprocess
import sys

from harness.stacks import ports

COUNT = 200


def test_runs_that_look_at_the_same_ports_get_different_ones() -> None:
    mine = [ports.free_port() for _ in range(COUNT)]
    code = (
        "from harness.stacks import ports\n"
        f"ports._next = {mine[0]}\n"
        f"print(*[ports.free_port() for _ in range({COUNT})])"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    others = {int(port) for port in done.stdout.split()}
    assert len(others) == COUNT
    assert not others & set(mine)
