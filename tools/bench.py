"""Measures what the README promises, and writes every raw sample with commit and machine.

Usage: python tools/bench.py [PART|all] [--repetitions N] [--out FILE]
Parts: boot, rate, investments, contract, smoke.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from bench_contract import bench_contract
from bench_investments import bench_investments
from bench_proxy import bench_proxy, judge

from harness.cli import wiring
from harness.core import clock
from harness.core.cast import Cast
from harness.core.history import Completed
from harness.core.scenario import Load
from harness.core.seeds import fresh_id
from harness.engine.conduct import steady_journey
from harness.stacks.embedded import EmbeddedStack
from harness.stacks.options import StackOptions
from load.drivers.threads import run_threads
from load.job import LoadJob

SEED = 1
CLIENTS = (1, 8, 32)
JOURNEYS_PER_CLIENT, JOURNEYS_MIN = 8, 40
LIMITS = (
    "CREATE_INVESTMENT", "EXECUTE_INVESTMENT", "DISTRIBUTE_DIVIDENDS", "CANCEL_INVESTMENT",
    "CREATE_USER", "DEPOSIT", "CLOSE_WALLET", "SET_FLAG",
)  # fmt: skip
Samples = dict[str, list[float]]


def make_stack(
    *, direct: bool = False, settings: Mapping[str, str] | None = None
) -> EmbeddedStack:
    target = wiring.target_named("investment")
    options = StackOptions(
        run_id=f"bench-{fresh_id()}",
        seed=SEED,
        proxy_argv=wiring.PROXY_ARGV,
        direct=direct,
        settings=settings or {},
    )
    return EmbeddedStack(target, options)


def seconds_since(start_ns: int) -> float:
    return round((clock.monotonic_ns() - start_ns) / 1e9, 3)


def forget(_completed: Completed) -> None:
    """Only the time is wanted."""


def bench_boot(repetitions: int) -> Samples:
    """From nothing to both APIs ready and one investment executed from end to end."""
    samples: Samples = {"boot_seconds": [], "steady_state_seconds": []}
    for _ in range(repetitions):
        start = clock.monotonic_ns()
        stack = make_stack()
        try:
            stack.up()
            samples["boot_seconds"].append(seconds_since(start))
            cast = Cast(SEED, "steady-state", 0)
            steady_journey(
                stack, cast=cast, number=0, seconds=30, record=forget, proxy_died=Event()
            )
            samples["steady_state_seconds"].append(seconds_since(start))
        finally:
            stack.down()
    return samples


def bench_rate(repetitions: int) -> Samples:
    """Create and execute to the end, journeys per second, direct and through the proxies."""
    samples: Samples = {}
    for direct in (True, False):
        stack = make_stack(direct=direct)
        try:
            stack.up()
            for clients in CLIENTS:
                name = f"{'direct' if direct else 'proxied'}_{clients}_clients_per_second"
                samples[name] = [
                    one_rate(stack, clients, slot=1 + 10 * clients + repetition)
                    for repetition in range(repetitions)
                ]
        finally:
            stack.down()
    return samples


def one_rate(stack: EmbeddedStack, clients: int, *, slot: int) -> float:
    cast = Cast(SEED, f"rate-{clients}-{slot}", slot)
    count = max(JOURNEYS_MIN, clients * JOURNEYS_PER_CLIENT)
    entries = {entry: stack.entry_url(entry) for entry in stack.target.spec.entries}
    known: dict[int, dict[str, str]] = {}
    elapsed = 0.0
    # Users and deposits are preparation; what is timed is create and execute.
    for workload in ("fund-users", "create-and-execute"):
        job = LoadJob.of(
            Load(workload, range(count), clients=clients),
            cast=cast, entries=entries, target=stack.target.spec.folder, known=known,
        )  # fmt: skip
        result = run_threads(job, stack.target.door.clients, forget)
        if result.stopped:
            raise SystemExit(f"a journey stopped: {next(iter(result.stopped.values()))}")
        known = {n: {**known.get(n, {}), **ids} for n, ids in result.known.items()}
        elapsed = (result.ended_ns - result.started_ns) / 1e9
    return round(count / elapsed, 1)


def bench_executed(repetitions: int) -> Samples:
    """Executed investments beside pgbench on the same server."""
    stack = make_stack(direct=True)
    try:
        stack.up()
        return bench_investments(stack, repetitions, seed=SEED)
    finally:
        stack.down()


def bench_the_contract(_repetitions: int) -> Samples:
    """Every operation of the OpenAPI document, fuzzed, with the service's limits raised."""
    limits = {f"INVESTMENT_LIMIT_{name}": "1000000" for name in LIMITS}
    stack = make_stack(direct=True, settings=limits)
    try:
        stack.up()
        return bench_contract(stack, seed=SEED)
    finally:
        stack.down()


def bench_fault_proxy(repetitions: int) -> Samples:
    """The fault proxy, beside Toxiproxy's own server where tools/install-toxiproxy.sh built it."""
    found = bench_proxy(repetitions)
    print("\n".join(judge(found)))
    return {
        f"{server}_{figure}": values
        for server, figures in found.items()
        for figure, values in figures.items()
    }


def bench_smoke(repetitions: int) -> Samples:
    """Consecutive runs of the profile `smoke`: seconds and exit codes, each with its own seed."""
    samples: Samples = {"smoke_seconds": [], "smoke_exit_codes": []}
    for seed in range(1, repetitions + 1):
        with tempfile.TemporaryDirectory() as runs:
            start = clock.monotonic_ns()
            argv = [str(Path(sys.executable).with_name("stormproof")), "run", "--profile", "smoke"]
            done = subprocess.run(
                [*argv, "--seed", str(seed), "--runs", runs], capture_output=True, text=True
            )
            samples["smoke_seconds"].append(seconds_since(start))
            samples["smoke_exit_codes"].append(done.returncode)
            print(f"  seed {seed}: exit {done.returncode}, {samples['smoke_seconds'][-1]} s")
            if done.returncode:
                print(done.stdout[-3000:])
    return samples


BENCHES = {
    "boot": bench_boot,
    "rate": bench_rate,
    "investments": bench_executed,
    "proxy": bench_fault_proxy,
    "contract": bench_the_contract,
    "smoke": bench_smoke,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=[*BENCHES, "all"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    wiring.discover()
    chosen = list(BENCHES) if options.what == "all" else [options.what]
    samples = {name: BENCHES[name](options.repetitions) for name in chosen}
    result = {
        "commit": wiring.commit(),
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.system(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
        },
        "versions": wiring.versions(),
        "repetitions": options.repetitions,
        "measured_at": clock.utc_text(clock.utc_now()),
        "medians": {
            name: statistics.median(values)
            for group in samples.values()
            for name, values in group.items()
        },
        "samples": samples,
    }
    out = options.out or Path("runs") / f"bench-{options.what}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result["medians"].items():
        print(f"{name:<40} {value}")
    print(f"raw samples: {out}")


if __name__ == "__main__":
    main()
