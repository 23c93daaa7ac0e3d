"""Bounded waiting: every wait names its condition and its deadline."""

from collections.abc import Callable
from typing import TypeVar

from harness.core import clock, interrupt
from harness.core.errors import DeadlineError

T = TypeVar("T")


class Deadline:
    """A moment on the monotonic clock after which waiting is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end_ns = clock.monotonic_ns() + int(seconds * 1e9)

    @property
    def remaining_seconds(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, (self._end_ns - clock.monotonic_ns()) / 1e9)

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return clock.monotonic_ns() >= self._end_ns


def wait_until(
    condition: Callable[[], T],
    *,
    what: str,
    seconds: float,
    poll_seconds: float = 0.02,
    on_timeout: Callable[[], str] | None = None,
) -> T:
    """Poll `condition` until it returns something true, and return that.

    Raises `DeadlineError`, with the text of `on_timeout` as detail, when `seconds` have passed, and
    `InterruptedRun` in the main thread when a signal asked the run to end.
    """
    deadline = Deadline(seconds)
    while True:
        interrupt.check()
        value = condition()
        if value:
            return value
        if deadline.passed:
            detail = on_timeout() if on_timeout else f"last answer: {value!r}"
            raise DeadlineError(
                f"waited {seconds:g} s in vain for: {what}",
                value=detail,
                fix="see the process logs",
            )
        clock.pause(min(poll_seconds, max(0.001, deadline.remaining_seconds)))
