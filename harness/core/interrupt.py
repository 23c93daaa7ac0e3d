"""Ctrl-C and SIGTERM: noted by a handler, acted on at safe points only.

A signal must not tear a half-written record or a half-made change apart, so the handler just sets
a flag. Bounded waits look at it in the main thread, and drivers are given the event. While things
are being healed and stopped the flag is shielded, so that a second Ctrl-C cannot stop the healing.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from harness.core.errors import InterruptedRun
from harness.core.exit_codes import ExitCode

requested = threading.Event()
_state = {"code": ExitCode.INTERRUPTED, "shielded": 0}


def _note(number: int, _frame: FrameType | None) -> None:
    _state["code"] = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
    requested.set()


def install() -> None:
    """Handle SIGINT, SIGTERM and SIGHUP in this process; call it from the main thread."""
    requested.clear()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _note)


def check() -> None:
    """Raise `InterruptedRun` if a signal came, in the main thread and outside a shield."""
    main = threading.current_thread() is threading.main_thread()
    if requested.is_set() and main and not _state["shielded"]:
        raise InterruptedRun(ExitCode(_state["code"]))


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Let what is inside run to its end: healing, stopping, sealing."""
    _state["shielded"] += 1
    try:
        yield
    finally:
        _state["shielded"] -= 1
