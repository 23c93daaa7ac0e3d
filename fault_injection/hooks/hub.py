"""The controller's socket: one thread that accepts, reads lines, and rings at deadlines.

All state of the controller is touched by this thread alone, so it needs no lock and every decision
has one order.
"""

import contextlib
import json
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from harness.core import clock
from harness.core.errors import HarnessError
from harness.stacks.guardian import start_time

T = TypeVar("T")
Message = dict[str, object]
CALL_SECONDS = 10.0
LINE_BYTES_MAX = 1_000_000
_BACKLOG = 1024
_TICK_SECONDS_MAX = 1.0


class Peer:
    """A connection from a target's process, which the kernel names by pid."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        size = struct.calcsize("3i")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        self.pid: int = struct.unpack("3i", credentials)[0]
        self.started = start_time(self.pid)
        self.received = b""

    def send(self, message: Message) -> bool:
        """Send a line; whether the other side is still there."""
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True


class Listener(Protocol):
    """What the hub calls, always from its own thread."""

    def heard(self, peer: Peer, message: Message) -> None:
        """A line came."""

    def left(self, peer: Peer) -> None:
        """The connection ended."""

    def rings_at_ns(self) -> int | None:
        """The next moment at which `ring` is wanted."""

    def ring(self) -> None:
        """A deadline may have passed."""


class Hub:
    """Listens on a UNIX socket until it is stopped."""

    def __init__(self, path: Path, listener: Listener) -> None:
        self._listener = listener
        self._calls: deque[Callable[[], None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        # A process of the target may run as somebody else; its folder's name is the secret.
        path.chmod(0o666)
        self._server.listen(_BACKLOG)
        self._server.setblocking(False)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake)
        self.running = True
        self._failure = ""
        self._thread = threading.Thread(target=self._work, name="hooks", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], T]) -> T:
        """Run something in the hub's thread and give its result."""
        return self.submit(work).result(timeout=CALL_SECONDS)

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Have something run in the hub's thread; raises `HarnessError` when the hub is stopped."""
        future: Future[T] = Future()

        def order() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        if not self.running:
            raise HarnessError(
                "the hook controller is stopped", value=self._failure, fix="start it first"
            )
        self._calls.append(order)
        self._waker.send(b"x")
        return future

    def stop(self) -> None:
        """Close every connection, which lets go of whatever is held."""
        if self.running:
            self.call(self._end)
            self._thread.join(CALL_SECONDS)

    def _end(self) -> None:
        self.running = False

    def _work(self) -> None:
        try:
            while self.running:
                for key, _ in self._selector.select(self._seconds()):
                    key.data(key.fileobj)
                # After the lines: whoever calls knows what the target had sent before.
                while self._calls:
                    self._calls.popleft()()
                self._listener.ring()
        except Exception as error:
            # What cannot be written down must not happen: every connection ends, which disarms.
            self._failure = repr(error)
        finally:
            self.running = False
            self._close()

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._waker.close()
        self._selector.close()

    def _seconds(self) -> float:
        at_ns = self._listener.rings_at_ns()
        if at_ns is None:
            return _TICK_SECONDS_MAX
        return min(_TICK_SECONDS_MAX, max(0.0, (at_ns - clock.monotonic_ns()) / 1e9))

    def _wake(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                # What is sent is short; whoever does not read it for this long has stopped.
                sock.settimeout(1.0)
                peer = Peer(sock)
                self._selector.register(
                    sock, selectors.EVENT_READ, lambda _sock, peer=peer: self._read(peer)
                )

    def _read(self, peer: Peer) -> None:
        try:
            part = peer.sock.recv(65536)
        except OSError:
            part = b""
        *lines, peer.received = (peer.received + part).split(b"\n")
        with contextlib.suppress(ValueError):
            for line in lines:
                self._listener.heard(peer, json.loads(line))
        if not part or len(peer.received) > LINE_BYTES_MAX:
            self._selector.unregister(peer.sock)
            peer.sock.close()
            self._listener.left(peer)
