"""`host:port` as Go reads and prints it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from fault_injection.proxy.errors import ApiError


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[v6]:port` or `:port`; ValueError says what is wrong."""
    if not text:
        return "", 0
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {text}: too many colons in address")
    if port == "":
        port = "0"
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {port}: invalid port")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolve(text: str, *, prefix: str = "") -> tuple[str, int]:
    """The numeric address of a listen text; no host means every interface."""
    try:
        host, port = split_address(text)
    except ValueError as error:
        raise ApiError(500, f"{prefix}{error}") from error
    if not host:
        return "::", port
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(5):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise ApiError(500, f"{prefix}lookup {host}: no such host") from error
    # IPv4 first, as Go does.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return found[0][4][0], port
