"""Executed investments beside pgbench's TPC-B on the same server, and where the time goes."""

import re
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import psycopg

from harness.core import clock
from harness.core.cast import Cast
from harness.core.history import Completed
from harness.stacks.datastores import USER, Postgres
from harness.stacks.embedded import EmbeddedStack
from load.drivers.threads import run_threads
from load.job import LoadJob, LoadResult
from load.perform import Limits

CLIENTS = (1, 4, 16, 64)
JOURNEYS_PER_CLIENT, JOURNEYS_MIN, JOURNEYS_MAX = 10, 60, 320
PACE = 0.8
PGBENCH_SCALE, PGBENCH_SECONDS = 10, 5
# Clients look often, so that their pauses do not slow the rate.
LIMITS = Limits(pause_max_ms=40)
ENDED = "SELECT created_at FROM job_state_logs WHERE job_id = %s AND to_state = 'SUCCEEDED'"
Samples = dict[str, list[float]]


def forget(_completed: Completed) -> None:
    """Only the time is wanted."""


class Bench:
    """One stack without proxies, with a database for pgbench on its server."""

    def __init__(self, stack: EmbeddedStack, *, seed: int) -> None:
        self._stack, self._seed, self._slot = stack, seed, 0
        self._programs = Postgres.find().programs
        port = psycopg.conninfo.conninfo_to_dict(stack.dsn())["port"]
        self._server = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]

    def _pgbench(self, *arguments: str) -> str:
        argv = [str(self._programs / "pgbench"), *self._server, *arguments, "pgbench"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def prepare_pgbench(self) -> None:
        with psycopg.connect(self._stack.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE pgbench")
        self._pgbench("-i", "-q", "-s", str(PGBENCH_SCALE))

    def tpc_b_per_second(self, clients: int) -> float:
        out = self._pgbench("-n", "-c", str(clients), "-j", "2", "-T", str(PGBENCH_SECONDS))
        found = re.search(r"tps = ([\d.]+)", out)
        if found is None:
            raise SystemExit(f"pgbench printed no rate: {out}")
        return float(found.group(1))

    def execute(self, clients: int, *, per_second: float = 0.0) -> tuple[LoadJob, LoadResult]:
        """Fund users, then create and execute; what is returned is the second part."""
        self._slot += 1
        cast = Cast(self._seed, f"bench-{self._slot}", 100 + self._slot)
        count = min(JOURNEYS_MAX, max(JOURNEYS_MIN, clients * JOURNEYS_PER_CLIENT))
        known: dict[int, dict[str, str]] = {}
        for workload, width, pace in (
            ("fund-users", 16, 0.0),
            ("create-and-execute", clients, per_second),
        ):
            job = LoadJob(
                workload=workload, numbers=tuple(range(count)), clients=width, cast=cast,
                entries={e: self._stack.entry_url(e) for e in self._stack.target.spec.entries},
                target=self._stack.target.spec.folder, known=known, per_second=pace,
                max_seconds=120, limits=LIMITS,
            )  # fmt: skip
            result = run_threads(job, self._stack.target.door.clients, forget)
            if result.stopped:
                raise SystemExit(f"a journey stopped: {next(iter(result.stopped.values()))}")
            known = {n: {**known.get(n, {}), **ids} for n, ids in result.known.items()}
        return job, result

    def latencies_ms(self, job: LoadJob, result: LoadResult) -> list[float]:
        """From the intended start of each journey to the moment its job ended in the database."""
        wall_ns = clock.utc_now().timestamp() * 1e9 - clock.monotonic_ns()
        intended = result.intended_ns(job)
        with psycopg.connect(self._stack.dsn()) as connection:
            ended = {
                number: connection.execute(ENDED, (ids["job"],)).fetchone()
                for number, ids in result.known.items()
            }
        return [
            row[0].timestamp() * 1e3 - (intended[number] + wall_ns) / 1e6
            for number, row in ended.items()
            if row
        ]

    @contextmanager
    def cpu_per_journey(self, samples: Samples, *, clients: int) -> Iterator[list[int]]:
        """CPU milliseconds of every process of the stack, for each of the journeys counted."""
        before, journeys = self._cpu_seconds(), [0]
        yield journeys
        for name, seconds in self._cpu_seconds().items():
            used_ms = 1000 * (seconds - before.get(name, 0.0)) / journeys[0]
            samples.setdefault(f"cpu_ms_{name}_{clients}_clients", []).append(round(used_ms, 1))

    def _cpu_seconds(self) -> dict[str, float]:
        found = {"clients": sum(psutil.Process().cpu_times()[:2])}
        for state in self._stack.processes():
            parent = psutil.Process(state.pid)
            found[state.name] = 0.0
            for each in [parent, *parent.children(recursive=True)]:
                # One that ended meanwhile is counted with its parent's children.
                with suppress(psutil.NoSuchProcess):
                    found[state.name] += sum(each.cpu_times()[:4])
        return found


def bench_investments(stack: EmbeddedStack, repetitions: int, *, seed: int) -> Samples:
    """For 1 to 64 clients: TPC-B, executed investments, their ratio, latencies, CPU."""
    samples: Samples = {}

    def note(name: str, value: float) -> None:
        samples.setdefault(name, []).append(round(value, 3))

    bench = Bench(stack, seed=seed)
    bench.prepare_pgbench()
    bench.execute(16)  # pools are filled, code is warm
    for _ in range(repetitions):
        for clients in CLIENTS:
            tpc_b = bench.tpc_b_per_second(clients)
            with bench.cpu_per_journey(samples, clients=clients) as journeys:
                job, result = bench.execute(clients)
                journeys[0] = len(job.numbers)
            rate = len(job.numbers) / ((result.ended_ns - result.started_ns) / 1e9)
            job, result = bench.execute(clients, per_second=PACE * rate)
            quantiles = statistics.quantiles(bench.latencies_ms(job, result), n=100)
            note(f"tpc_b_{clients}_clients_per_second", tpc_b)
            note(f"executed_{clients}_clients_per_second", rate)
            note(f"executed_to_tpc_b_{clients}_clients", rate / tpc_b)
            note(f"from_intended_start_{clients}_clients_p50_ms", quantiles[49])
            note(f"from_intended_start_{clients}_clients_p99_ms", quantiles[98])
    return samples
