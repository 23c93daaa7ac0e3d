"""Ends everything of a run when the harness dies, whatever killed it.

A process of its own, in a session of its own, with the standard library only. It reads JSON lines
from the harness over a pipe: what to watch (process groups), what to remove (folders), what to run
(an undo command). When the pipe ends without `done`, it kills, removes and runs all of that.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

_UNDO_SECONDS = 30


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when there is none.

    With the pid it names one process for good: pids are used again, pairs are not.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def members(pgid: int) -> list[int]:
    """The processes of a group that are still there, zombies aside."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[2]) == pgid and fields[0] != "Z":
            found.append(int(entry))
    return found


def marked(run_id: str) -> list[int]:
    """Processes that were started with this run's id in their environment."""
    needle = f"STORMPROOF_RUN_ID={run_id}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
            if needle in file.read().split(b"\0"):
                found.append(int(entry))
    return found


def kill_group(pgid: int, started: str) -> None:
    """Kill a process group, unless its number now belongs to somebody else."""
    now = start_time(pgid)
    if started and now and now != started:
        return
    with contextlib.suppress(OSError):
        os.killpg(pgid, signal.SIGKILL)


def main(run_id: str) -> None:
    """Read until the pipe ends, then clean up unless told that all is done."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, str] = {}
    folders: list[str] = []
    commands: list[list[str]] = []
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "watch":
            groups[order["pgid"]] = order["started"]
        elif order["do"] == "forget":
            groups.pop(order["pgid"], None)
        elif order["do"] == "remove":
            folders.append(order["folder"])
        elif order["do"] == "command":
            commands.append(order["argv"])
        elif order["do"] == "done":
            return
    _clean(run_id, groups, folders, commands)


def _clean(
    run_id: str, groups: dict[int, str], folders: list[str], commands: list[list[str]]
) -> None:
    for pgid, started in groups.items():
        kill_group(pgid, started)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        left = [pid for pgid in groups for pid in members(pgid)] + marked(run_id)
        if not left:
            break
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for argv in commands:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(argv, timeout=_UNDO_SECONDS, check=False, capture_output=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
