"""Free ports on loopback, below the range from which the system draws client ports."""

import os
import socket
import threading

from harness.core.errors import HarnessError

_FIRST, _LAST = 15_000, 31_000
_lock = threading.Lock()
# Runs side by side start at different places, so that they rarely ask for the same port.
_next = _FIRST + (os.getpid() * 97) % (_LAST - _FIRST)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now and that this process has not yet given."""
    global _next
    with _lock:
        for _ in range(_LAST - _FIRST):
            port, _next = _next, _next + 1
            if _next >= _LAST:
                _next = _FIRST
            if _is_free(port):
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
