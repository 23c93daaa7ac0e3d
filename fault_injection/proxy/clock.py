"""The proxy's only source of time: monotonic nanoseconds, and alarms that never ring early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

monotonic_ns = time.monotonic_ns
monotonic_s = time.monotonic


class Alarm:
    """Calls back at a monotonic time, not before it.

    uvloop's timers count whole milliseconds from a cached time and may ring early, so an early
    ring re-arms for the rest.
    """

    __slots__ = ("_callback", "_due_s", "_handle", "_loop")

    def __init__(self, due_s: float, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._due_s = due_s
        self._callback = callback
        self._arm()

    def _arm(self) -> None:
        self._handle = self._loop.call_later(max(0.0, self._due_s - monotonic_s()), self._ring)

    def _ring(self) -> None:
        if monotonic_s() < self._due_s:
            self._arm()
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()
