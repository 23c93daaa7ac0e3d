"""W3C trace context: parse it, carry it, write it into SQL comments.

The service passes a caller's `traceparent` on unchanged, from HTTP through outbox, queue and
job rows to SQL comments and partner calls, so that every message of one unit of work can be
found by its trace id, recovery included.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from .settings import Settings

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


class NoSpans:
    """What is made of a trace beside carrying it: nothing, unless `telemetry` was started."""

    def current(self) -> str | None:
        """The traceparent of the current span."""

    def joined(self, traceparent: str | None) -> AbstractContextManager[None]:
        """Spans that begin inside belong to this trace."""
        return nullcontext()


spans = NoSpans()


def start_spans(settings: Settings) -> None:
    """Make and send spans in this process, if there is an endpoint for them."""
    if settings.otlp_endpoint:
        from . import telemetry

        telemetry.start(settings)


def parse_traceparent(value: str | None) -> str | None:
    """The value when it is a valid version 00 traceparent, else None (as W3C demands)."""
    match = _TRACEPARENT.fullmatch(value.strip()) if value else None
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return match[0]


def current_traceparent() -> str | None:
    return spans.current() or _current.get()


def trace_id() -> str | None:
    """The 32 hex digits that name the current trace."""
    value = current_traceparent()
    return value[3:35] if value else None


@contextmanager
def traced(traceparent: str | None) -> Iterator[None]:
    """Make `traceparent` the current trace; None or an invalid value means no trace."""
    carried = parse_traceparent(traceparent)
    token = _current.set(carried)
    try:
        with spans.joined(carried):
            yield
    finally:
        _current.reset(token)


def sql_comment() -> str:
    """The comment that ends every statement of a traced unit of work; empty without a trace."""
    value = current_traceparent()
    return f" /*traceparent='{value}'*/" if value else ""
