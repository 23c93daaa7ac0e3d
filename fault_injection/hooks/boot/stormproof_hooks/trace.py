"""Which trace the running code belongs to, by W3C `traceparent`.

A resolver is named `module:attribute`, a function without parameters or a context variable. Without
one, `frames` looks through the local variables of the callers for a header.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType

from . import resolve

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_BARE = re.compile(r"[0-9a-f]{32}")
_FRAMES_MAX = 60
_LOCALS = ("traceparent", "request", "headers", "environ", "scope", "message", "task_request")
_KEYS = ("traceparent", "HTTP_TRACEPARENT")


def trace_id(value: object) -> str:
    """The trace id that a text or header value names; empty when it names none."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    match = _TRACEPARENT.fullmatch(value.strip())
    return match[1] if match else value if _BARE.fullmatch(value) else ""


def resolver(name: str) -> Callable[[], str]:
    """The function that tells the current trace id, by the resolver's name."""
    if name == "frames":
        return from_frames
    module_name, _, attribute = name.partition(":")

    def current() -> str:
        found = getattr(resolve.loaded(module_name), attribute, None)
        if found is None:
            return ""
        getter = getattr(found, "get", found)
        return trace_id(getter(None) if getter is not found else getter())

    return current


def check(name: str) -> None:
    """Raise `NotFoundError` when a resolver's module is imported and lacks the attribute."""
    module_name, _, attribute = name.partition(":")
    module = None if name == "frames" else resolve.loaded(module_name)
    if module is not None and not resolve.initializing(module) and not hasattr(module, attribute):
        raise resolve.not_found("trace resolver", attribute, vars(module))


def from_frames() -> str:
    """The first trace in a caller's variables that look like a request or its headers."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES_MAX):
        if frame is None:
            break
        names = frame.f_code.co_varnames
        if any(name in names for name in _LOCALS):
            held = frame.f_locals
            for name in _LOCALS:
                found = _within(held.get(name))
                if found:
                    return found
        frame = frame.f_back
    return ""


def _within(value: object, *, deep: bool = True) -> str:
    if value is None or isinstance(value, (str, bytes)):
        return trace_id(value) if value else ""
    if isinstance(value, Mapping):
        found = "".join(trace_id(value.get(key)) for key in _KEYS)
        return found or (_within(value.get("headers"), deep=False) if deep else "")
    if isinstance(value, (list, tuple)):
        return _in_pairs(value)
    held = getattr(value, "headers", None)
    return _within(held, deep=False) if deep and held is not value else ""


def _in_pairs(pairs: Iterable[object]) -> str:
    """ASGI's headers: a list of pairs of bytes."""
    for pair in pairs:
        if isinstance(pair, (list, tuple)) and len(pair) == 2 and pair[0] == b"traceparent":
            return trace_id(pair[1])
    return ""
