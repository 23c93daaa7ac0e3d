"""Hooks in uvicorn's spawned workers and in Celery's forked children."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
from celery import Celery
from celery.exceptions import WorkerLostError

from fault_injection.hooks import HookController
from harness.core.waits import wait_until
from harness.stacks.ports import free_port
from tests.hooks.conftest import Records

HERE = Path(__file__).parent
TRACE = "ab" * 16
PARENT = f"00-{TRACE}-{'cd' * 8}-01"


@contextlib.contextmanager
def server(folder: Path, env: dict[str, str], *arguments: str) -> Iterator[None]:
    for name in ("shop.py", "web.py", "jobs.py"):
        shutil.copy(HERE / name, folder)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, env=env, stdout=log, stderr=log,
            process_group=0,
        )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
        print((folder / "log").read_text()[-3000:])


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, running: HookController) -> Iterator[str]:
    """uvicorn with two workers, as the process `web`."""
    port, env = free_port(), running.environment("web", dict(os.environ))
    with server(tmp_path_factory.mktemp("web"), env, "uvicorn", "web:app", "--workers", "2",
                "--port", str(port), "--timeout-keep-alive", "75"):  # fmt: skip
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                return len({get(f"{url}/alive")["pid"] for _ in range(8)}) == 2
            return False

        wait_until(ready, what="two workers", seconds=20)
        yield url


def get(url: str, traceparent: str = "") -> dict:
    """One exchange on a connection of its own, so that any worker may serve it."""
    with urllib3.PoolManager(retries=False, timeout=20) as http:
        headers = {"Connection": "close"} | ({"traceparent": traceparent} if traceparent else {})
        answer = http.request("GET", url, headers=headers)
        return answer.json() if answer.status == 200 else {"status": answer.status}


def test_spawned_workers(web: str, controller: HookController, records: Records) -> None:
    """A helper that was imported by name before, in both workers."""
    controller.arm("shop:pay@exit", "return((77,))", process="web")
    answers = [get(f"{web}/blocking/5") for _ in range(12)]
    assert {answer["paid"] for answer in answers} == {77}
    assert {event.pid for event in records()} == {answer["pid"] for answer in answers}
    assert len({answer["pid"] for answer in answers}) == 2


def test_a_route_and_a_dependency(web: str, controller: HookController) -> None:
    armed = controller.arm("web:pay_route@entry", "return({'hooked': 1})", process="web")
    assert get(f"{web}/pay/5") == {"hooked": 1}
    controller.disarm(armed)
    controller.arm("web:user_id@exit", "return('me')", process="web")
    assert get(f"{web}/pay/5")["user"] == "me"


@pytest.mark.parametrize("resolver", ["frames", "web:current"])
def test_only_the_trace_that_is_meant(
    web: str, controller: HookController, records: Records, resolver: str
) -> None:
    """Found in the callers' variables, or by a context variable of the target's."""
    controller._state.resolver = resolver
    controller.arm("web:pay_route@entry", "raise(OSError:x)", trace=PARENT, process="web")
    other = PARENT.replace("ab", "ba")
    answers = [get(f"{web}/pay/5", trace) for trace in (other, PARENT, "", other, PARENT)]
    assert [answer.get("status", 200) for answer in answers] == [200, 500, 200, 200, 500]
    assert {event.trace for event in records()} == {TRACE}


def test_a_count_is_that_of_all_processes(
    web: str, controller: HookController, records: Records
) -> None:
    controller.arm("shop:pay@entry", "3*raise(OSError:x)", process="web")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get(f"{web}/blocking/5"), range(24)))
    assert sum(answer.get("status") == 500 for answer in answers) == 3
    assert sum(event.kind == "before" for event in records()) == 3


def test_a_coroutine_pauses_while_its_loop_goes_on(
    web: str, controller: HookController
) -> None:
    armed = controller.arm("web:slow@entry", "1*pause(15s)", process="web")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(get, f"{web}/slow")
        wait_until(lambda: controller.paused(armed), what="the pause", seconds=5)
        assert len({get(f"{web}/alive")["pid"] for _ in range(12)}) == 2
        assert not slow.done()
        assert controller.release(armed) == 1
        assert "pid" in slow.result(5)


def test_a_pause_that_would_stop_a_loop_is_refused(
    web: str, controller: HookController, records: Records
) -> None:
    """`pay` is called on the loop here; in the other route it is not, and may pause."""
    controller.arm("shop:pay@entry", "pause(10s)", process="web")
    assert get(f"{web}/pay/5")["paid"] == 5
    assert [(event.kind, event.outcome) for event in records()] == [
        ("refused", "it would stop a whole event loop")
    ]
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(get, f"{web}/blocking/5")
        wait_until(controller.paused, what="the pause", seconds=5)
        controller.release()
        assert held.result(5)["paid"] == 5


def test_a_shared_pause_says_so(web: str, controller: HookController, records: Records) -> None:
    controller.arm("shop:pay@entry", "1*pause(100ms)", shared=True, process="web")
    assert get(f"{web}/pay/5")["paid"] == 5
    assert [(event.outcome, event.shared) for event in records()] == [("", True), ("expired", True)]


@pytest.fixture(scope="module")
def celery(
    tmp_path_factory: pytest.TempPathFactory, running: HookController, redis_port: int
) -> Iterator[Celery]:
    """A Celery worker with two forked children, as the process `worker`."""
    broker = f"redis://127.0.0.1:{redis_port}/0"
    env = running.environment("worker", {**os.environ, "BROKER": broker})
    app = Celery("client", broker=broker, backend=broker, set_as_current=False)
    with server(tmp_path_factory.mktemp("jobs"), env, "celery", "-A", "jobs", "worker",
                "--concurrency", "2", "--pool", "prefork", "-l", "WARNING"):  # fmt: skip
        running.wait_joined("worker", count=3, seconds=20)
        app.send_task("jobs.charge", [1]).get(timeout=20)
        yield app
    app.close()


@pytest.mark.parametrize(("task", "point"), [("charge", "jobs:charge"), ("charge", "shop:pay"),
                                             ("refund", "jobs:refund")])  # fmt: skip
def test_forked_children(
    celery: Celery, controller: HookController, records: Records, task: str, point: str
) -> None:
    """A task's own function, however it is declared, and a helper imported by name."""
    controller.arm(f"{point}@entry", "1*raise(TimeoutError:hooked)", process="worker")
    with pytest.raises(TimeoutError, match="hooked"):
        celery.send_task(f"jobs.{task}", [5]).get(timeout=10)
    assert celery.send_task(f"jobs.{task}", [5]).get(timeout=10)[1] == 5
    assert [event.kind for event in records()] == ["before", "after"]


@pytest.mark.nightly
def test_a_child_that_is_forked_later(
    celery: Celery, controller: HookController, records: Records
) -> None:
    """One child dies at its hook; the one that takes its place is hooked as well."""
    controller.arm("jobs:refund@exit", "1*kill", process="worker")
    children = {state.pid for state in controller.processes() if state.name == "worker"}
    with pytest.raises(WorkerLostError):
        celery.send_task("jobs.refund", [5]).get(timeout=10)
    killed = records()[0].pid
    assert killed in children
    assert [(event.pid, event.outcome) for event in records()] == [
        (killed, ""), (killed, "connection ended"),
    ]  # fmt: skip

    def replaced() -> bool:
        now = {state.pid for state in controller.processes() if state.name == "worker"}
        return killed not in now and bool(now - children)

    wait_until(replaced, what="a new child", seconds=10)
    new = {state.pid for state in controller.processes() if state.name == "worker"} - children
    armed = controller.arm("jobs:refund@exit", "return([0, 99])", process="worker")

    def served_by_the_new_one() -> bool:
        sent = [celery.send_task("jobs.refund", [5]) for _ in range(4)]
        assert {result.get(timeout=10)[1] for result in sent} == {99}
        return bool(new & {event.pid for event in records() if event.arm == armed})

    wait_until(served_by_the_new_one, what="the new child at its hook", seconds=10)
