"""Terms in the manner of fail(9): `50%3*raise(builtins.TimeoutError:text)->delay(200ms)->off`.

A term is steps joined by `->`. A step is `[percent%][count*]action[(argument)]`: it fires with that
chance, at most that often; the next step is tried only when the former did not fire.
"""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from harness.core.errors import UsageError, unknown_name

CHARACTERS_MAX = 2000
STEPS_MAX = 32
PAUSE_MS_DEFAULT = 30_000
HOLD_MS_MAX = 600_000
_HEAD = re.compile(
    r"\s*(?:(\d{1,3}(?:\.\d{1,6})?)\s*%)?\s*(?:(\d{1,9})\s*\*)?\s*([A-Za-z_]+)\s*", re.A
)
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(ms|s)", re.A)
_GRAMMAR = "write [percent%][count*]action[(argument)], joined by ->; see docs/how-to/use-hooks.md"


@dataclass(frozen=True)
class Step:
    """One step; `text` and `value` are an exception's message and a literal's source."""

    action: str
    percent: Decimal | None = None
    count: int | None = None
    exception: str = ""
    text: str = ""
    value: str = ""
    hold_ms: int = 0
    exit_code: int = 0

    @property
    def holds(self) -> bool:
        """Whether the process waits until the controller lets it go."""
        return self.action in ("delay", "pause")

    def __str__(self) -> str:
        chance = "" if self.percent is None else f"{self.percent}%"
        often = "" if self.count is None else f"{self.count}*"
        return f"{chance}{often}{self.action}{self._argument()}"

    def _argument(self) -> str:
        if self.action == "raise":
            return f"({self.exception}{':' if self.text else ''}{self.text})"
        if self.action == "return":
            return f"({self.value})"
        if self.holds:
            return f"({self.hold_ms}ms)"
        return f"({self.exit_code})" if self.action == "exit" else ""


@dataclass(frozen=True)
class Term:
    """The steps of a hook, tried in order at every hit."""

    steps: Sequence[Step]

    def __str__(self) -> str:
        return "->".join(map(str, self.steps))

    @property
    def exceptions(self) -> list[str]:
        """The exception classes that it may raise."""
        return sorted({step.exception for step in self.steps if step.action == "raise"})


def parse_term(text: str) -> Term:
    """The term that a text says; raises `UsageError` naming the place that is wrong."""
    if len(text) > CHARACTERS_MAX:
        raise _wrong(text[:40] + "…", f"a term has at most {CHARACTERS_MAX} characters")
    steps, at = [], 0
    while True:
        step, at = _step(text, at)
        steps.append(step)
        if at == len(text):
            break
        if not text.startswith("->", at):
            raise _wrong(text, f"expected “->” or the end at character {at + 1}")
        at += 2
    if len(steps) > STEPS_MAX:
        raise _wrong(text, f"a term has at most {STEPS_MAX} steps")
    return Term(tuple(steps))


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"not a hook's term: {why}", value=text, fix=_GRAMMAR)


def _step(text: str, start: int) -> tuple[Step, int]:
    head = _HEAD.match(text, start)
    if head is None:
        raise _wrong(text, f"no action at character {start + 1}")
    name, at, argument = head[3], head.end(), None
    if name not in _ACTIONS:
        raise unknown_name("action", name, _ACTIONS, where=f"the term “{text}”")
    if text.startswith("(", at):
        end = _closing(text, at, literal=name == "return")
        argument, at = text[at + 1 : end].strip(), end + 1
    at += len(text[at:]) - len(text[at:].lstrip())
    percent = None if head[1] is None else Decimal(head[1])
    count = None if head[2] is None else int(head[2])
    if percent is not None and not 0 < percent <= 100:
        raise _wrong(text, f"{percent}% is not above 0 and at most 100")
    if count == 0:
        raise _wrong(text, "a step that fires 0 times is “off”")
    try:
        return Step(name, percent, count, **_ACTIONS[name](argument)), at
    except ValueError as error:
        raise _wrong(text, f"{name}: {error}") from None


def _closing(text: str, start: int, *, literal: bool) -> int:
    """Where the parenthesis that opens at `start` closes; a literal may hold more in quotes."""
    depth, quote, at = 0, "", start
    while at < len(text):
        character = text[at]
        if quote:
            at += character == "\\"
            quote = "" if character == quote else quote
        elif literal and character in "'\"":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
            if depth == 0:
                return at
        at += 1
    raise _wrong(text, f"the “(” at character {start + 1} is not closed")


Arguments = dict[str, Any]


def _raise(argument: str | None) -> Arguments:
    name, _, text = (argument or "").partition(":")
    parts = name.strip().split(".")
    if not all(part.isidentifier() for part in parts):
        raise ValueError("name an exception: raise(module.Class:text)")
    return {"exception": ".".join(parts if parts[1:] else ["builtins", *parts]),
            "text": text.strip()}  # fmt: skip


def _return(argument: str | None) -> Arguments:
    source = argument or "None"
    try:
        value = repr(ast.literal_eval(source))
        ast.literal_eval(value)  # an infinite number, for one, is written as a name
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"“{source[:60]}” is no Python literal") from None
    return {"value": value}


def _duration_ms(argument: str | None, *, least: int) -> int:
    match = _DURATION.fullmatch(argument or "")
    if match is None:
        raise ValueError("write a time as 200ms or 1.5s")
    hold_ms = int(Decimal(match[1]) * (1000 if match[2] == "s" else 1))
    if not least <= hold_ms <= HOLD_MS_MAX:
        raise ValueError(f"{hold_ms} ms is not between {least} and {HOLD_MS_MAX}")
    return hold_ms


def _delay(argument: str | None) -> Arguments:
    return {"hold_ms": _duration_ms(argument, least=0)}


def _pause(argument: str | None) -> Arguments:
    return {"hold_ms": _duration_ms(argument, least=1) if argument else PAUSE_MS_DEFAULT}


def _exit(argument: str | None) -> Arguments:
    if not re.fullmatch(r"\d{1,3}", argument or "1", re.ASCII) or int(argument or "1") > 255:
        raise ValueError(f"“{argument}” is no exit code (0 to 255)")
    return {"exit_code": int(argument or "1")}


def _bare(argument: str | None) -> Arguments:
    if argument:
        raise ValueError("it takes no argument")
    return {}


_ACTIONS: dict[str, Callable[[str | None], Arguments]] = {
    "raise": _raise,
    "return": _return,
    "delay": _delay,
    "pause": _pause,
    "exit": _exit,
    "kill": _bare,
    "off": _bare,
}
