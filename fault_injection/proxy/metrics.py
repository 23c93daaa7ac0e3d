"""`/metrics` in Prometheus' text format: bytes by proxy, and what the process uses."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

from fault_injection.proxy.proxies import Proxy

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PROCESS = Path("/proc/self")


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _family(name: str, kind: str, help_: str, samples: Iterable[str]) -> Iterator[str]:
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {kind}"
    yield from samples


def proxy_metrics(proxies: Iterable[Proxy]) -> Iterator[str]:
    """Toxiproxy's counters; unlike there they move while a connection lives."""
    transferred = [(proxy, proxy.transferred()) for proxy in proxies]
    for what in ("received", "sent"):
        name = f"toxiproxy_proxy_{what}_bytes_total"
        samples = [
            _sample(
                name,
                {
                    "direction": stream,
                    "listener": proxy.listen,
                    "proxy": proxy.name,
                    "upstream": proxy.upstream,
                },
                count,
            )
            for proxy, bytes_ in transferred
            for stream, count in getattr(bytes_, what).items()
        ]
        yield from _family(name, "counter", f"The total number of bytes {what}.", samples)


def runtime_metrics() -> Iterator[str]:
    """What a Prometheus client shows of a process; there is no Go runtime here."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int((_PROCESS / "statm").read_text().split()[1])
    fields = (_PROCESS / "stat").read_text().rpartition(")")[2].split()
    booted_s = int(Path("/proc/stat").read_text().partition("btime ")[2].split()[0])
    started_s = booted_s + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    gauges = {
        "process_resident_memory_bytes": ("gauge", pages * resource.getpagesize()),
        "process_virtual_memory_bytes": ("gauge", int(fields[20])),
        "process_cpu_seconds_total": ("counter", round(usage.ru_utime + usage.ru_stime, 3)),
        "process_open_fds": ("gauge", len(list((_PROCESS / "fd").iterdir()))),
        "process_max_fds": ("gauge", soft),
        "process_start_time_seconds": ("gauge", round(started_s, 2)),
        "python_asyncio_tasks": ("gauge", len(asyncio.all_tasks())),
    }
    for name, (kind, value) in gauges.items():
        yield from _family(name, kind, name.replace("_", " "), [f"{name} {value}"])
    name = "python_gc_collections_total"
    samples = [
        _sample(name, {"generation": str(number)}, statistics["collections"])
        for number, statistics in enumerate(gc.get_stats())
    ]
    yield from _family(name, "counter", "Collections by generation.", samples)
    info = {"version": platform.python_version()}
    yield from _family(
        "python_info", "gauge", "Python's version.", [_sample("python_info", info, 1)]
    )
