"""The life of hooks: pauses, deadlines, deaths, chance, cost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fault_injection.faults.hook_kill import HookKill
from fault_injection.hooks import HookController
from fault_injection.hooks.controller import BOOT
from harness.core import clock
from harness.core.errors import HarnessError, NotUndoneError
from harness.core.stack import HookEvent
from harness.core.target import load_target
from harness.core.waits import wait_until
from harness.stacks.compose import ComposeStack
from harness.stacks.options import StackOptions
from tests.hooks.conftest import Records, Script, StartScript

ROOT = Path(__file__).parents[2]
NOBODY = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
# A controller in a process of its own: prints an environment, then arms what it is told to.
CONTROLLER = """
import json, os, sys
from fault_injection.hooks import HookController
controller = HookController(on_event=lambda event: print(event.kind, flush=True))
controller.start()
print(json.dumps(controller.environment("script", dict(os.environ))), flush=True)
for line in sys.stdin:
    controller.wait_joined("script")
    print(controller.arm(*json.loads(line)), flush=True)
"""
FORKING = """
import os, sys
from shop import pay
read, write = os.pipe()
for line in sys.stdin:
    if os.fork() == 0:
        os.write(write, repr(pay(5)).encode() + b"\\n")
        os._exit(0)
    os.wait()
    print('{"value": "%s"}' % os.read(read, 1000).decode().strip(), flush=True)
"""


def test_a_pause_lasts_until_it_is_released(
    script: Script, controller: HookController, records: Records
) -> None:
    armed = controller.arm("shop:pay@entry", "pause(20s)")
    script.send("pay(5)")
    [firing] = wait_until(lambda: controller.paused(armed), what="the pause", seconds=5)
    assert [event.kind for event in records()] == ["before"]
    assert controller.release(firing=firing + 1) == 0
    assert controller.release(firing=firing) == 1
    assert "5" in script.receive()["value"]
    wait_until(lambda: len(records()) == 2, what="the record after", seconds=5)
    assert records()[1].outcome == "released"


def test_a_delay_of_nothing(script: Script, controller: HookController) -> None:
    controller.arm("shop:pay@entry", "delay(0ms)")
    begun = clock.monotonic_ns()
    script.ask("[pay(5) for _ in range(20)]")
    assert (clock.monotonic_ns() - begun) / 1e9 < 2


@pytest.mark.parametrize(("term", "outcome"), [("delay(120ms)", "delayed"),
                                               ("pause(120ms)", "expired")])  # fmt: skip
def test_a_hold_has_an_end(
    script: Script, controller: HookController, records: Records, term: str, outcome: str
) -> None:
    controller.arm("shop:pay@entry", term)
    begun = clock.monotonic_ns()
    script.ask("pay(5)")
    assert 0.12 <= (clock.monotonic_ns() - begun) / 1e9 < 2
    assert records()[1].outcome == outcome
    assert records()[1].at_ns - records()[0].at_ns >= 120_000_000


def test_disarming_lets_go(script: Script, controller: HookController) -> None:
    armed = controller.arm("shop:pay@entry", "pause(20s)")
    script.send("pay(5)")
    wait_until(lambda: controller.paused(armed), what="the pause", seconds=5)
    controller.disarm(armed)
    assert "5" in script.receive()["value"]


def test_a_lease_that_nobody_renews_ends(script: Script, controller: HookController) -> None:
    controller.arm("shop:pay@entry", "raise(OSError:x)", lease_seconds=0.2)
    assert script.ask("pay(5)") == "OSError: x"
    wait_until(lambda: "5" in script.ask("pay(5)"), what="the lease to end", seconds=3)


def test_counts_and_the_next_step(script: Script, controller: HookController) -> None:
    controller.arm("shop:pay@exit", "2*raise(OSError:x)->1*return(7)->off")
    said = [script.ask("pay(5)") for _ in range(5)]
    assert said[:3] == ["OSError: x", "OSError: x", "7"]
    assert set(said[3:]) == {"(5, 'EUR', (), None, {})"}
    assert script.ask("pay.__code__.co_filename").endswith("shop.py'")  # spent, so out of the way


def test_a_seed_says_which_hits_fire(script: Script, controller: HookController) -> None:
    def fired(seed: int) -> list[bool]:
        armed = controller.arm("shop:pay@entry", "40%return(7)", seed=seed)
        said = [script.ask("pay(5)") == "7" for _ in range(40)]
        assert controller.hits(armed) == 40
        controller.disarm(armed)
        return said

    first = fired(1)
    assert fired(1) == first != fired(2)
    assert 6 <= sum(first) <= 26


def test_the_record_is_written_before_the_process_goes_on(tmp_path: Path) -> None:
    """What a listener knows when the target has not moved yet."""
    seen: list[tuple[str, bool]] = []

    def listen(event: HookEvent) -> None:
        seen.append((event.kind, (tmp_path / "moved").exists()))

    with HookController(on_event=listen) as controller:
        made = Script(tmp_path, controller.environment("script", dict(os.environ)))
        controller.wait_joined("script")
        assert made.ask("1") == "1"
        controller.arm("shop:with_headers@entry", "delay(1ms)")
        made.ask("with_headers(None, lambda: open('moved', 'w').close())")
        made.end()
    assert seen[0] == ("before", False)
    assert [kind for kind, _ in seen] == ["before", "after"]


@pytest.mark.parametrize(("term", "code"), [("exit(7)", 7), ("kill", -signal.SIGKILL)])
def test_a_process_ends_at_its_hook(
    start_script: StartScript, controller: HookController, records: Records, term: str, code: int
) -> None:
    made = start_script(term.partition("(")[0])
    assert made.ask("1") == "1"
    controller.arm("shop:pay@exit", f"1*{term}", process=term.partition("(")[0])
    made.send("pay(5)")
    assert made.process.wait(5) == code
    wait_until(lambda: len(records()) == 2, what="both records", seconds=5)
    before, after = records()
    assert (before.pid, after.outcome) == (made.process.pid, "connection ended")


def test_the_kernel_proves_a_kill(start_script: StartScript, controller: HookController) -> None:
    """The fault, on a stack that is nothing but hooks; one that was not reached did not bite."""

    class Stack:
        kind, hooks = "embedded", controller

    made = start_script("killed")
    assert made.ask("1") == "1"
    fault = HookKill(point="shop:pay@entry", process="killed")
    fault.inject(Stack())  # type: ignore[arg-type]
    assert not fault.proof(None).bit  # type: ignore[arg-type]
    made.send("pay(5)")
    made.process.wait(5)
    proof = fault.proof(None)  # type: ignore[arg-type]
    assert proof.bit
    assert proof.evidence["pid"] == str(made.process.pid)
    fault.heal(Stack())  # type: ignore[arg-type]


def test_a_hit_that_kills_nobody_is_no_proof(
    script: Script, controller: HookController
) -> None:
    """The mechanism sabotaged: the hook fires, and the process lives."""

    class Stack:
        kind, hooks = "embedded", controller

    fault = HookKill(point="shop:pay@entry", process="script", term="1*delay(1ms)")
    fault.inject(Stack())  # type: ignore[arg-type]
    script.ask("pay(5)")
    proof = fault.proof(None)  # type: ignore[arg-type]
    assert not proof.bit
    assert proof.evidence["runs"] == "true"


def test_a_fork_is_hooked(start_script: StartScript, controller: HookController) -> None:
    """What was armed before it, and what is armed after."""
    made = start_script("forking", program=FORKING)
    controller.wait_joined("forking")
    made.send("")
    assert made.receive()["value"].startswith("(5")
    armed = controller.arm("shop:pay@exit", "return(7)", process="forking")
    made.send("")
    assert made.receive()["value"] == "7"
    controller.disarm(armed)
    made.send("")
    assert made.receive()["value"].startswith("(5")


def test_a_stopped_process_cannot_be_told(
    start_script: StartScript, controller: HookController, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start_script("stopped")
    armed = controller.arm("shop:pay@entry", "off", process="stopped")
    monkeypatch.setattr("fault_injection.hooks.controller.ANSWER_SECONDS", 0.3)
    made.process.send_signal(signal.SIGSTOP)
    os.waitpid(made.process.pid, os.WUNTRACED)
    try:
        with pytest.raises(NotUndoneError, match=str(made.process.pid)):
            controller.disarm(armed)
    finally:
        made.process.send_signal(signal.SIGCONT)
    assert made.ask("1") == "1"


@pytest.fixture
def other_controller() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_the_death_of_the_controller_lets_go_and_disarms(
    other_controller: subprocess.Popen[str], start_script: StartScript
) -> None:
    assert other_controller.stdin is not None
    assert other_controller.stdout is not None
    env = json.loads(other_controller.stdout.readline())
    made = start_script(env=env)
    assert made.ask("1") == "1"
    for point, term in (("shop:pay@entry", "pause(60s)"), ("shop:wrapped@entry", "return(7)"),
                        ("shop:fetch@entry", "pause(60s)")):  # fmt: skip
        other_controller.stdin.write(json.dumps([point, term]) + "\n")
        other_controller.stdin.flush()
        assert other_controller.stdout.readline().startswith("hook-")
    assert made.ask("wrapped(3)") == "7"
    assert [other_controller.stdout.readline() for _ in range(2)] == ["before\n", "after\n"]
    made.send("asyncio.run(fetch(2)), pay(5)[0]")
    stdout = other_controller.stdout
    wait_until(lambda: "before" in stdout.readline(), what="a pause", seconds=5)
    begun = clock.monotonic_ns()
    other_controller.kill()
    assert made.receive()["value"] == "(2, 5)"
    assert (clock.monotonic_ns() - begun) / 1e9 < 2
    assert made.ask("wrapped(3)") == "3"
    own = "wrapped.__wrapped__.__code__.co_filename.endswith('shop.py')"
    wait_until(lambda: made.ask(own) == "True", what="the function's own code", seconds=2)
    shutil.rmtree(Path(env["STORMPROOF_HOOKS"]).parent)


def test_two_controllers_do_not_touch_each_other(
    script: Script, controller: HookController, records: Records, tmp_path: Path
) -> None:
    with HookController() as second:
        made = Script(tmp_path, second.environment("script", dict(os.environ)))
        second.wait_joined("script")
        assert made.ask("1") == "1"
        controller.arm("shop:pay@entry", "return('first')")
        second.arm("shop:pay@entry", "return('second')")
        assert [script.ask("pay(5)"), made.ask("pay(5)")] == ["'first'", "'second'"]
        second.disarm_all()
        assert made.ask("pay(5)[0]") == "5"
        assert script.ask("pay(5)") == "'first'"
        made.end()
        assert {event.pid for event in second.records()} == {made.process.pid}
    assert {event.pid for event in records()} == {script.process.pid}


def test_without_a_controller_the_process_runs(
    start_script: StartScript, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env = {**os.environ, "PYTHONPATH": str(BOOT), "STORMPROOF_HOOKS": str(tmp_path / "nobody")}
    assert start_script(env=env).ask("pay(5)[0]") == "5"
    assert "stormproof hooks: none" in capfd.readouterr().err


def test_a_copy_that_cannot_be_written_run_by_somebody_else(
    controller: HookController,
) -> None:
    """As it is mounted into a container: elsewhere, read-only, for another user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        copied = shutil.copytree(BOOT, f"{folder}/boot", ignore=lambda *_: ["__pycache__"])
        subprocess.run(["chmod", "-R", "a+rX,a-w", copied], check=True)
        (Path(folder) / "shop.py").write_text((Path(__file__).parent / "shop.py").read_text())
        env = controller.environment("nobody", {"PYTHONPATH": folder})
        env["PYTHONPATH"] = env["PYTHONPATH"].replace(str(BOOT), copied)
        code = "import shop, sys; sys.stdin.readline(); print(shop.pay(5))"
        process = subprocess.Popen(
            [*(NOBODY if os.geteuid() == 0 else ()), sys.executable, "-c", code],
            env=env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        controller.wait_joined("nobody")
        controller.arm("shop:pay@entry", "return(7)", process="nobody", early=True)
        assert process.communicate("\n", timeout=10)[0] == "7\n"


def test_containers_mount_what_they_are_told_of(
    controller: HookController, tmp_path: Path
) -> None:
    """The compose stack's own part of the file; without hooks it has nothing of them."""
    target = load_target(ROOT / "system_under_test")

    def services(hooks: HookController | None) -> dict:
        options = StackOptions(run_id="x", seed=1, proxy_argv=(), hooks=hooks)
        stack = ComposeStack(target, options, compose_file=ROOT / "docker-compose.chaos.yml")
        return json.loads(stack._write_override(tmp_path).read_text())["services"]

    assert "hooks" not in json.dumps(services(None)).lower()
    worker = services(controller)["worker"]
    env = worker["environment"]
    mounted = dict(volume.removesuffix(":ro").split(":") for volume in worker["volumes"])
    there = {at: where for where, at in mounted.items()}
    boot, source = env["PYTHONPATH"].split(":")
    assert (Path(there[boot]) / "sitecustomize.py").exists()
    assert source == "/opt/target"
    folder, _, name = env["STORMPROOF_HOOKS"].rpartition("/")
    assert (Path(there[folder]) / name).is_socket()


def test_a_listener_that_fails_ends_all_hooks(tmp_path: Path) -> None:
    """What cannot be written down does not happen, and nobody is left waiting."""

    def fail(_event: HookEvent) -> None:
        raise OSError("the disk is full")

    with HookController(on_event=fail) as controller:
        made = Script(tmp_path, controller.environment("script", dict(os.environ)))
        controller.wait_joined("script")
        assert made.ask("1") == "1"
        controller.arm("shop:pay@entry", "return(7)")
        assert made.ask("pay(5)[0]") == "5"
        with pytest.raises(HarnessError, match="the disk is full"):
            controller.arm("shop:pay@entry", "return(7)")
        made.end()


MEASURE = "min(__import__('timeit').repeat(lambda: pay(5), number=20000, repeat=7))"


def test_what_is_disarmed_costs_nothing(
    start_script: StartScript, script: Script, controller: HookController
) -> None:
    """The code that runs is the function's own, before and after; so is what a call costs."""
    plain = start_script(env=dict(os.environ))
    assert script.ask("pay.__code__.co_filename").endswith("shop.py'")
    armed = controller.arm("shop:pay@entry", "off", process="script")
    assert script.ask("pay.__code__.co_filename") == "'<stormproof hook>'"
    controller.disarm(armed)
    assert script.ask("pay.__code__.co_filename").endswith("shop.py'")
    ratios = [float(script.ask(MEASURE)) / float(plain.ask(MEASURE)) for _ in range(3)]
    assert min(ratios) < 1.25, ratios
