"""Free ports on loopback, below the range from which the system draws client ports."""

import fcntl
import os
import socket
import tempfile
import threading
from pathlib import Path

from harness.core.errors import HarnessError

_FIRST, _LAST = 15_000, 31_000
_lock = threading.Lock()
_reservations: int | None = None
# Runs side by side start at different places, so that they seldom look at the same port.
_next = _FIRST + (os.getpid() * 97) % (_LAST - _FIRST)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now and that no run was given while it lives."""
    global _next
    with _lock:
        for _ in range(_LAST - _FIRST):
            port, _next = _next, _next + 1
            if _next >= _LAST:
                _next = _FIRST
            if _is_free(port) and _is_reserved_for_us(port):
                return port
    raise HarnessError("no free port on loopback", value=f"{_FIRST}-{_LAST}", fix="end other runs")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_reserved_for_us(port: int) -> bool:
    """Lock the byte of that number in a file that all runs share: the lock ends with the process.

    Between this moment and the one in which a server binds the port, only this tells other runs.
    """
    global _reservations
    if _reservations is None:
        path = Path(tempfile.gettempdir()) / f"stormproof.{os.getuid()}.ports"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        _reservations = os.open(path, flags, 0o600)
    try:
        fcntl.lockf(_reservations, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True
