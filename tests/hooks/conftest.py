"""Real processes that join a controller: scripts, uvicorn's workers, Celery's children."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from fault_injection.hooks import HookController
from harness.core.stack import HookEvent
from harness.core.waits import wait_until
from harness.stacks.datastores import valkey_argv
from harness.stacks.ports import free_port

SHOP = (Path(__file__).parent / "shop.py").read_text("utf-8")
# Evaluates a line and says what came of it, as JSON.
ASKED = """
import asyncio, json, sys
import shop
from shop import *
for line in sys.stdin:
    try:
        said = {"value": repr(eval(line))}
    except Exception as error:
        said = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[HookController]:
    with HookController() as controller:
        yield controller


@pytest.fixture
def controller(running: HookController) -> Iterator[HookController]:
    """A controller with nothing armed, before and after the test."""
    yield running
    running.disarm_all()


class Records:
    """What hooks did since the test began."""

    def __init__(self, controller: HookController) -> None:
        self._controller = controller
        self._from = len(controller.records())

    def __call__(self) -> Sequence[HookEvent]:
        return self._controller.records(self._from)


@pytest.fixture
def records(controller: HookController) -> Records:
    return Records(controller)


class Script:
    """A process that evaluates what it is asked, with `shop` imported by name and by `*`."""

    def __init__(self, folder: Path, env: dict[str, str], program: str = ASKED) -> None:
        (folder / "shop.py").write_text(SHOP)
        (folder / "main.py").write_text(program)
        self.process = subprocess.Popen(
            [sys.executable, "main.py"],
            cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, str]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, line: str) -> str:
        """What the line gives: its value as Python writes it, or its error with its text."""
        self.send(line)
        said = self.receive()
        return said["value"] if "value" in said else f"{said['error']}: {said['text']}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait(5)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


StartScript = Callable[..., Script]


@pytest.fixture(scope="module")
def start_script(
    tmp_path_factory: pytest.TempPathFactory, running: HookController
) -> Iterator[StartScript]:
    """Starts scripts, by default joined to the module's controller."""
    started: list[Script] = []

    def start(
        name: str = "script", *, env: dict[str, str] | None = None, program: str = ASKED
    ) -> Script:
        folder = tmp_path_factory.mktemp(name)
        script = Script(folder, env or running.environment(name, dict(os.environ)), program)
        started.append(script)
        if env is None:
            running.wait_joined(name)
        return script

    yield start
    for script in started:
        script.end()


@pytest.fixture(scope="module")
def script(start_script: StartScript) -> Script:
    """One script for all tests of a module, ready."""
    made = start_script()
    assert made.ask("1") == "1"
    return made


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The wheel's Valkey."""
    port = free_port()
    argv = valkey_argv(port, tmp_path_factory.mktemp("valkey"))
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)

    def ready() -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return bool(redis.Redis(port=port).ping())
        return False

    wait_until(ready, what="Valkey", seconds=10)
    yield port
    server.terminate()
    server.wait(10)
