"""Keeps a process in touch with its controller: one connection, before and after forks.

Until the first hook is armed this is all that there is: a thread that waits for bytes. No function
is touched, no import is watched, and what arming needs is not even imported.
"""

import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket
from _thread import RLock, start_new_thread

TYPE_CHECKING = False  # as `typing` has it, which is not worth an import here
if TYPE_CHECKING:
    from .table import Table

_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_NOTHING_ARMED = b"{}\n"


class Agent:
    """The controller's hand in this process."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.lock = RLock()
        self._name = name
        self._table: Table | None = None
        self._control: socket | None = None
        self._inode = 0

    # -- the connection ---------------------------------------------------------------------------

    def join(self) -> bool:
        """Connect, take over what is armed, and listen from then on. Whether that worked."""
        try:
            control = socket(AF_UNIX, SOCK_STREAM)
            control.settimeout(_ANSWER_SECONDS)
            control.connect(self.path)
            control.sendall(b'{"join": %s}\n' % self._name.encode())
            received = b""
            while not received.endswith(b"\n"):
                part = control.recv(65536)
                if not part:
                    raise OSError("the connection ended")
                received += part
        except OSError as error:
            self.leave()
            sys.stderr.write(f"stormproof hooks: none, no controller at {self.path}: {error}\n")
            return False
        self._control, self._inode = control, os.fstat(control.fileno()).st_ino
        if received != _NOTHING_ARMED or self._table is not None:
            self._obey(received)
        start_new_thread(self._listen, (control,))
        return True

    def _listen(self, control: socket) -> None:
        received = b""
        try:
            # A daemon that closes all files may have given the number to somebody else.
            while os.fstat(control.fileno()).st_ino == self._inode:
                table = self._table
                control.settimeout(_LOOK_SECONDS if table and table.awaited else None)
                try:
                    part = control.recv(65536)
                except TimeoutError:
                    if table is not None:
                        table.look_again()
                    continue
                if not part:
                    break
                whole, newline, received = (received + part).rpartition(b"\n")
                if newline:
                    self._obey(whole)
        except OSError:
            pass  # the connection is gone, as at its end
        if self._control is control:
            self.leave()

    def _obey(self, lines: bytes) -> None:
        with self.lock:
            if self._table is None:
                from .table import Table

                self._table = Table(self)
            for line in lines.splitlines():
                self._table.obey(line)

    def leave(self) -> None:
        """Nobody commands any more: every function gets its own code back."""
        with self.lock:
            self._control = None
            if self._table is not None:
                self._table.clear()

    def say(self, line: bytes) -> None:
        """Send the controller a line."""
        with self.lock:
            try:
                if self._control is not None:
                    self._control.sendall(line + b"\n")
            except OSError:
                pass  # the listening thread sees the end too, and leaves

    # -- forks ------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing is half done while the process is copied."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """A process of its own, with a connection of its own; what was armed still is."""
        self.lock = RLock()
        inherited, self._control = self._control, None
        if inherited is not None:
            inherited.close()
            self.join()


def start(path: str, name: str) -> None:
    """Join the controller that listens at `path`; without one the process runs without hooks.

    `name` is the process's name as JSON text.
    """
    agent = Agent(path, name)
    if agent.join():
        os.register_at_fork(
            before=agent.before_fork,
            after_in_parent=agent.after_fork_in_parent,
            after_in_child=agent.after_fork_in_child,
        )
