"""The only place that reads a clock.

Order and durations come from the machine's monotonic clock, which every process on one machine
shares, so times taken by the harness, by Locust and by the proxy can be compared. Wall-clock time
is for people only.
"""

import time
from datetime import UTC, datetime


def monotonic_ns() -> int:
    """Nanoseconds of the machine's monotonic clock."""
    return time.monotonic_ns()


def utc_now() -> datetime:
    """The wall-clock time, in UTC."""
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as every file and page prints it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pause(seconds: float) -> None:
    """Give up the processor for a moment; only `harness.core.waits` and pacing may call it."""
    time.sleep(seconds)
