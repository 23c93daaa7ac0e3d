"""Where one direction of a decoded connection can be stopped and go on in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fault_injection.proxy.link import Link

Opened = Callable[[str], None]


class Gate:
    """Lets bytes and actions pass; once closed, keeps them in order until it is opened.

    What it keeps counts as held by its link, so that the source is paused when it is much.
    """

    __slots__ = ("link", "on_open", "timer", "waiting")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.waiting: deque[bytes | Callable[[], None]] = deque()
        self.timer: asyncio.TimerHandle | None = None
        self.on_open: Opened | None = None

    def write(self, data: bytes) -> None:
        if self.on_open is None:
            self.link.entry(data)
        else:
            self.link.hold(len(data))
            self.waiting.append(data)

    def then(self, action: Callable[[], None]) -> None:
        """Does something behind all that was written before."""
        if self.on_open is None:
            action()
        else:
            self.waiting.append(action)

    def close(self, first: bytes, *, within_s: float, on_open: Opened) -> None:
        """Keeps `first` and all that follows until somebody opens it, or the time is over."""
        self.link.hold(len(first))
        self.waiting.appendleft(first)
        self.on_open = on_open
        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(within_s, self.open, "time")

    def open(self, reason: str) -> None:
        """Lets pass what waits, up to where the gate is closed again."""
        if self.on_open is None:
            return
        on_open, self.on_open = self.on_open, None
        self.timer.cancel()
        on_open(reason)
        while self.waiting and self.on_open is None:
            item = self.waiting.popleft()
            if isinstance(item, bytes):
                self.link.release(len(item))
                self.link.entry(item)
            else:
                item()

    def discard(self) -> None:
        """The connection ends: nothing will pass any more, and nothing is kept."""
        kept = sum(len(item) for item in self.waiting if isinstance(item, bytes))
        self.waiting.clear()
        if kept:
            self.link.release(kept)
        if self.on_open is not None:
            on_open, self.on_open = self.on_open, None
            self.timer.cancel()
            on_open("closed")
