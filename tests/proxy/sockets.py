"""What tests do with sockets; upper tolerances allow for a busy two-core machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

BUSY_S = 0.4
Result = TypeVar("Result")


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def read(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(size - len(data), 1 << 20))
        assert part, f"end of stream after {len(data)} of {size} bytes"
        data += part
    return bytes(data)


def fill(sock: socket.socket) -> int:
    """Sends until nothing more is taken; returns how much was."""
    sock.settimeout(0.2)
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except TimeoutError:
        return sent


def ends(sock: socket.socket) -> bool:
    """Whether the peer closed or reset the connection."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def took(action: Callable[[], Result]) -> tuple[float, Result]:
    start = time.monotonic()
    result = action()
    return time.monotonic() - start, result
