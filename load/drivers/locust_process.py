"""Locust as clients: a process of its own, with Locust's statistics, fed by the same workloads."""

import contextlib
import os
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.core.errors import DeadlineError, HarnessError
from harness.core.history import Completed
from harness.core.stack import Child
from harness.core.waits import Deadline, wait_until
from load.drivers.stream import read_line
from load.job import LoadJob, LoadResult
from load.session import Record

_ROOT = Path(__file__).parents[2]
_LOCUSTFILE = _ROOT / "load" / "locustfile.py"
_INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR")
_START_SECONDS = 30.0
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_CHUNK_BYTES = 1 << 18
_LOG_TAIL_BYTES = 2_000


class Spawn(Protocol):
    """Starts a process with that whole environment, its output going to a file."""

    def __call__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        pass_fds: Sequence[int],
        log: Path,
        /,
    ) -> Child:
        """The running process; its standard input is empty."""


def run_locust(
    job: LoadJob,
    spawn: Spawn,
    record: Record,
    *,
    stop: threading.Event | None = None,
) -> LoadResult:
    """Run a load in a Locust process.

    `record` is called here, in the caller's thread, once per operation, also for those that were
    sent but not finished when time was over or `stop` was set. Raises `HarnessError`, with the
    end of the log, when the process dies early or its results are not complete.
    """
    with tempfile.TemporaryDirectory(prefix="stormproof-load-") as folder:
        return _run(job, spawn, record, Path(folder), stop)


def _run(
    job: LoadJob, spawn: Spawn, record: Record, folder: Path, stop: threading.Event | None
) -> LoadResult:
    log_path = folder / "locust.log"
    results, results_out = os.pipe()
    control, control_in = os.pipe()
    try:
        environment = _environment(job, folder, results_out, control)
        process = spawn(_argv(job), environment, (results_out, control), log_path)
    except BaseException:
        os.close(results)
        os.close(control_in)
        raise
    finally:
        os.close(results_out)
        os.close(control)
    reader = _Reader(job, results, control_in, stop)
    try:
        return _collect(reader, record)
    except _StreamError as error:
        reason = str(error)
    finally:
        reader.close()
        _reap(process)
    raise HarnessError(
        "the Locust process did not deliver its results",
        value=f"{reason}; exit code {process.poll()}; its log ends: {_tail(log_path)}",
        where=f"{job.workload} of {job.cast.scenario}",
        fix="see the end of its log; a stream that is cut short is never taken for a result",
    )


class _StreamError(Exception):
    """The stream of results is not complete."""


class _Reader:
    """Lines from the results pipe, within the job's time; closing `control` asks for the end."""

    def __init__(
        self, job: LoadJob, results: int, control: int, stop: threading.Event | None
    ) -> None:
        self._results, self._control, self._stop = results, control, stop
        self._seconds = _START_SECONDS + job.max_seconds + _END_SECONDS
        self._open = {results, control}

    def lines(self) -> Iterator[bytes]:
        deadline, held = Deadline(self._seconds), b""
        while not deadline.passed:
            if self._stop and self._stop.is_set():
                self._close(self._control)
            if not select.select([self._results], [], [], _POLL_SECONDS)[0]:
                continue
            chunk = os.read(self._results, _CHUNK_BYTES)
            if not chunk:
                if held:
                    raise _StreamError("the last line is cut short")
                return
            *whole, held = (held + chunk).split(b"\n")
            yield from whole
        raise _StreamError(f"no end within {self._seconds:g} s")

    def close(self) -> None:
        for descriptor in list(self._open):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)


def _collect(reader: _Reader, record: Record) -> LoadResult:
    operations = 0
    for line in reader.lines():
        try:
            item = read_line(line)
        except ValueError as error:
            raise _StreamError(str(error)) from None
        if isinstance(item, Completed):
            operations += 1
            record(item)
        elif isinstance(item, LoadResult):
            return item
        else:
            raise _StreamError(f"it reports: {item}")
    raise _StreamError(f"it ended after {operations} operations without a result")


def _argv(job: LoadJob) -> list[str]:
    clients = str(min(job.clients, len(job.numbers)))
    return [
        sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless",
        "--users", clients, "--spawn-rate", clients, "--only-summary", "--loglevel", "INFO",
    ]  # fmt: skip


def _environment(job: LoadJob, folder: Path, results: int, control: int) -> dict[str, str]:
    job_path = folder / "load-job.json"
    job_path.write_bytes(job.to_json())
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **kept,
        # A home without settings of Locust's: what a user configured there must not matter here.
        "HOME": str(folder),
        "PYTHONPATH": str(_ROOT),
        # Folders with our names in the working folder must not come first.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "STORMPROOF_LOAD_JOB": str(job_path),
        "STORMPROOF_LOAD_RESULTS_FD": str(results),
        "STORMPROOF_LOAD_CONTROL_FD": str(control),
    }


def _reap(process: Child) -> None:
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None and process.poll() is None:
            os.kill(process.pid, number)
        with contextlib.suppress(DeadlineError):
            wait_until(
                lambda: process.poll() is not None,
                what="the end of the Locust process",
                seconds=_END_SECONDS / 2,
            )
            return
    raise DeadlineError("the Locust process does not end", value=f"pid {process.pid}")


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace")
    except OSError as error:
        return str(error)
