"""What happens when a hooked function is reached: ask the controller, do what it says, report.

Every hit has a connection of its own, so threads, tasks and forked children share nothing. The
controller has written the hit down when its answer comes. When the connection ends, the controller
is gone, and whatever was held goes on.
"""

import ast
import json
import os
import signal
import sys
from _thread import get_ident
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, socket
from types import FunctionType

from . import resolve, swap

ANSWER_SECONDS = 5.0
_GRACE_SECONDS = 5.0
Outcome = tuple[str, object] | None
# A dialogue yields what to do with the connection and is sent the controller's answer.
Dialogue = Generator[tuple[str, dict, float], dict, Outcome]


@dataclass(frozen=True)
class Arm:
    """One armed hook as this process knows it."""

    id: str
    module: str
    qualname: str
    event: str
    trace: str
    exceptions: tuple[str, ...]


def _on_event_loop() -> bool:
    """Whether this thread runs an event loop right now, which a wait would stop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _dialogue(arm: Arm, trace: str, *, blocks_loop: bool) -> Dialogue:
    hit = {"hit": arm.id, "trace": trace, "blocks_loop": blocks_loop, "thread": get_ident()}
    answer = yield "ask", hit, ANSWER_SECONDS
    do = answer.get("do", "off")
    if do == "hold":
        going_on = yield "wait", {}, answer["ms"] / 1000 + _GRACE_SECONDS
        yield "tell", {"after": going_on.get("why", "let go: the controller is gone")}, 0
    elif do == "return":
        yield "tell", {"after": "returned"}, 0
        return "return", ast.literal_eval(answer["value"])
    elif do == "raise":
        try:
            error = resolve.make_exception(answer["exception"], answer["text"], load=True)
        except (resolve.NotFoundError, ImportError) as problem:
            yield "tell", {"after": "failed", "why": str(problem)}, 0
            return None
        yield "tell", {"after": "raised"}, 0
        return "raise", error
    elif do == "exit":
        os._exit(answer["code"])
    elif do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return None


class _Lines:
    """What was received and not read yet: two lines may come at once, one may come in parts."""

    def __init__(self) -> None:
        self._received = b""

    def take(self) -> dict | None:
        """The next whole line; None when there is none yet."""
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        self._received = rest
        return json.loads(line)

    def add(self, part: bytes) -> None:
        """Take in what came; raises `OSError` at the connection's end."""
        if not part:
            raise OSError("the connection ended")
        self._received += part


def _blocking(dialogue: Dialogue, path: str) -> Outcome:
    with socket(AF_UNIX, SOCK_STREAM) as channel:
        answer: dict | None = None
        lines = _Lines()
        try:
            while True:
                verb, message, seconds = dialogue.send(answer)  # type: ignore[arg-type]
                answer = {}
                try:
                    channel.settimeout(seconds or ANSWER_SECONDS)
                    if verb == "ask":
                        channel.connect(path)
                    if message:
                        channel.sendall(json.dumps(message).encode() + b"\n")
                    while seconds and not (answer := lines.take() or {}):
                        lines.add(channel.recv(65536))
                except (OSError, ValueError):
                    continue
        except StopIteration as end:
            return end.value


async def _on_loop(dialogue: Dialogue, path: str) -> Outcome:
    import asyncio

    loop = asyncio.get_running_loop()
    with socket(AF_UNIX, SOCK_STREAM) as channel:
        channel.setblocking(False)
        answer: dict | None = None
        lines = _Lines()
        try:
            while True:
                verb, message, seconds = dialogue.send(answer)  # type: ignore[arg-type]
                answer = {}
                try:
                    if verb == "ask":
                        await asyncio.wait_for(loop.sock_connect(channel, path), ANSWER_SECONDS)
                    if message:
                        await loop.sock_sendall(channel, json.dumps(message).encode() + b"\n")
                    while seconds and not (answer := lines.take() or {}):
                        received = loop.sock_recv(channel, 65536)
                        lines.add(await asyncio.wait_for(received, seconds))
                except (OSError, ValueError):
                    continue
        except StopIteration as end:
            return end.value


class Hook:
    """A function whose code was swapped, and what is armed on it."""

    def __init__(self, function: FunctionType, path: str, trace: Callable[[], str]) -> None:
        self.function = function
        self.path = path
        self.trace = trace
        self.arms: dict[str, tuple[Arm, ...]] = {"entry": (), "exit": (), "raise": ()}
        self.original_code = function.__code__
        self._original = swap.twin(function)
        self._swapped = swap.hooked_code(function.__code__, self)

    def add(self, arm: Arm) -> None:
        """Arm; the function's code is swapped with the first."""
        self.arms[arm.event] = (*self.arms[arm.event], arm)
        if self.function.__code__ is self.original_code:
            self.function.__code__ = self._swapped

    def remove(self, arm_id: str) -> bool:
        """Disarm; with the last the function gets its own code back. Whether nothing is left."""
        for event, arms in self.arms.items():
            self.arms[event] = tuple(arm for arm in arms if arm.id != arm_id)
        if any(self.arms.values()):
            return False
        if self.function.__code__ is self._swapped:
            self.function.__code__ = self.original_code
        return True

    def _meant(self, event: str) -> list[tuple[Arm, str]]:
        """The arms of an event that the current trace is meant by, with that trace."""
        arms = self.arms[event]
        if not arms:
            return []
        try:
            trace = self.trace()
        except Exception:
            trace = ""
        return [(arm, trace) for arm in arms if arm.trace in ("", trace)]

    def _fire(self, event: str) -> Outcome:
        for arm, trace in self._meant(event):
            dialogue = _dialogue(arm, trace, blocks_loop=_on_event_loop())
            outcome = _blocking(dialogue, self.path)
            if outcome is not None:
                return _raised(outcome)
        return None

    async def _fire_on_loop(self, event: str) -> Outcome:
        for arm, trace in self._meant(event):
            if _on_event_loop():
                outcome = await _on_loop(_dialogue(arm, trace, blocks_loop=False), self.path)
            else:  # a loop that is not asyncio's cannot be waited on
                outcome = _blocking(_dialogue(arm, trace, blocks_loop=True), self.path)
            if outcome is not None:
                return _raised(outcome)
        return None

    # -- what the swapped code calls, one for each kind of function -------------------------------

    def call(self, args: tuple, kwargs: dict) -> object:
        """A plain function's call."""
        if (outcome := self._fire("entry")) is not None:
            return outcome[1]
        try:
            value = self._original(*args, **kwargs)
        except Exception:
            if (outcome := self._fire("raise")) is not None:
                return outcome[1]
            raise
        outcome = self._fire("exit")
        return value if outcome is None else outcome[1]

    def generate(self, args: tuple, kwargs: dict) -> Generator[object, object, object]:
        """A generator's run, from its first step to its end."""
        if (outcome := self._fire("entry")) is not None:
            return outcome[1]
        try:
            value = yield from self._original(*args, **kwargs)
        except Exception:
            if (outcome := self._fire("raise")) is not None:
                return outcome[1]
            raise
        outcome = self._fire("exit")
        return value if outcome is None else outcome[1]

    async def run(self, args: tuple, kwargs: dict) -> object:
        """A coroutine's run."""
        if (outcome := await self._fire_on_loop("entry")) is not None:
            return outcome[1]
        try:
            value = await self._original(*args, **kwargs)
        except Exception:
            if (outcome := await self._fire_on_loop("raise")) is not None:
                return outcome[1]
            raise
        outcome = await self._fire_on_loop("exit")
        return value if outcome is None else outcome[1]

    def steps(self, args: tuple, kwargs: dict) -> "Steps":
        """An async generator's run, step by step."""
        return Steps(self, self._original, args, kwargs)


def _raised(outcome: tuple[str, object]) -> Outcome:
    if outcome[0] == "raise":
        assert isinstance(outcome[1], BaseException)
        raise outcome[1]
    return outcome


class Steps:
    """An async generator, started by its hook; each step ends it or gives its next value."""

    def __init__(self, hook: Hook, original: FunctionType, args: tuple, kwargs: dict) -> None:
        self._hook = hook
        self._generator: AsyncGenerator[object, object] = original(*args, **kwargs)

    async def start(self) -> object:
        """The first value."""
        if await self._hook._fire_on_loop("entry") is not None:
            await self._generator.aclose()
            raise StopAsyncIteration
        return await self._step(self._generator.__anext__())

    async def send(self, value: object) -> object:
        """The value after one was sent in."""
        return await self._step(self._generator.asend(value))

    async def throw(self, error: BaseException) -> object:
        """The value after an exception was thrown in."""
        return await self._step(self._generator.athrow(error))

    async def close(self) -> None:
        """Close it."""
        await self._generator.aclose()

    async def _step(self, step) -> object:  # noqa: ANN001 (what asend gives has no name)
        try:
            return await step
        except StopAsyncIteration:
            await self._hook._fire_on_loop("exit")
            raise
        except Exception:
            if await self._hook._fire_on_loop("raise") is not None:
                raise StopAsyncIteration from None
            raise
