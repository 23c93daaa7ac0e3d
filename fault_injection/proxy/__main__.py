"""`python -m fault_injection.proxy`: the fault proxy, with the flags of Toxiproxy's server."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fault_injection.proxy.addresses import join_address, resolve
from fault_injection.proxy.api import VERSION, Api
from fault_injection.proxy.errors import ApiError
from fault_injection.proxy.hub import Hub
from fault_injection.proxy.proxies import Proxies
from fault_injection.proxy.server import ControlConnection, Request


def log(message: str, **fields: object) -> None:
    print(json.dumps({"message": message, **fields}), flush=True)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="stormproof proxy", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("-host", "--host", default="localhost", help="host of the API")
    parser.add_argument("-port", "--port", type=int, default=8474, help="port of the API; 0 is any")
    parser.add_argument("-config", "--config", type=Path, help="JSON file with proxies to create")
    parser.add_argument("-seed", "--seed", type=int, help="seed of toxics that name none")
    for what, shown in (("proxy", "bytes by proxy"), ("runtime", "what the process uses")):
        parser.add_argument(
            f"-{what}-metrics",
            f"--{what}-metrics",
            dest="metrics",
            action="append_const",
            const=what,
            default=[],
            help=f"show {shown} at /metrics",
        )
    parser.add_argument("-version", "--version", action="store_true", help="print the version")
    parser.add_argument("-ready-fd", "--ready-fd", type=int, help="write the start line here too")
    return parser.parse_args(arguments)


async def populate(api: Api, path: Path) -> None:
    """Creates the proxies of a file; a bad file is logged and the server runs on."""
    try:
        content = path.read_bytes()
    except OSError as error:
        log("Error reading config file", config=str(path), error=str(error))
        return
    response = await api.populate(Request(body=bytearray(content)))
    if response.status != 201:
        log("Failed to populate proxies from file", config=str(path), error=response.body.decode())


def raise_descriptor_limit() -> None:
    """Two descriptors a connection: the usual soft limit of 1,024 is soon reached."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def api_host(options: argparse.Namespace) -> str | None:
    """One address, IPv4 first, as Go takes it: with two, `-port 0` would be two ports."""
    # The port with it: uvloop takes 99999 for another one.
    address, _ = await resolve(join_address(options.host.strip("[]"), options.port))
    return address if options.host else None


async def serve(options: argparse.Namespace) -> int:
    # Hundreds of thousands of records live long: look for cycles less often.
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    hub = Hub(options.seed)
    proxies = Proxies(hub)
    api = Api(hub, proxies, options.metrics)
    try:
        server = await loop.create_server(
            lambda: ControlConnection(api.handle), await api_host(options), options.port
        )
    except (OSError, ApiError) as error:
        log("Server finished with error", host=options.host, port=options.port, error=str(error))
        return 1
    if options.config is not None:
        await populate(api, options.config)
    host, port = server.sockets[0].getsockname()[:2]
    log("Starting", host=host, port=port, version=VERSION)
    if options.ready_fd is not None:
        with os.fdopen(options.ready_fd, "w") as ready:
            print(json.dumps({"message": "Starting", "host": host, "port": port}), file=ready)
    await stopped.wait()
    server.close()
    proxies.stop()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.version:
        print(f"toxiproxy-server version {VERSION}")
        return 0
    raise_descriptor_limit()
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    return run(serve(options))


if __name__ == "__main__":
    sys.exit(main())
