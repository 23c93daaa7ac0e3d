"""The whole stack in containers: up, usable through its proxies, and gone without a trace."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .conftest import ROOT, compose_commands
from .test_compose_file import COMPOSE, PROCESSES

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

UP_WITHIN_S = 180
READY_WITHIN_S = 60
CHANGE_WITHIN_S = 30
ADMIN_TOKEN = f"admin-{uuid.uuid4().hex}"


class Stack:
    """One project of the compose file, under a name of its own."""

    def __init__(self, command: list[str], run_label: str) -> None:
        self.command = [*command, "-p", run_label, "-f", str(ROOT / "docker-compose.chaos.yml")]
        self.environment = os.environ | {
            "STORMPROOF_RUN_ID": run_label,
            "INVESTMENT_ADMIN_TOKEN": ADMIN_TOKEN,
        }

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            timeout=UP_WITHIN_S,
            check=False,
            env=self.environment,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def address(self, service: str, port: int) -> str:
        """Where a port of a service is published."""
        address = self.compose("port", service, str(port)).strip()
        assert address.startswith("127.0.0.1:"), address
        return address


@contextmanager
def running(command: list[str], run_label: str) -> Iterator[Stack]:
    stack = Stack(command, run_label)
    try:
        stack.compose("up", "-d")
        yield stack
    except BaseException:
        print(stack.compose("logs", "--no-color", "--tail", "20"))
        raise
    finally:
        stack.compose("down", "--volumes", "--timeout", "2")


def status_of(url: str, *, method: str = "GET", body: dict[str, object] | None = None) -> int:
    """The status of an answer; 0 when there was none."""
    request = urllib.request.Request(
        url, method=method, data=None if body is None else json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_for_status(url: str, wanted: set[int], *, within_s: float) -> None:
    """Polls an address; the failure says what it answered last."""
    deadline = time.monotonic() + within_s
    while (status := status_of(url)) not in wanted:
        assert time.monotonic() < deadline, f"{url}: {status}, not {wanted}, after {within_s} s"
        time.sleep(0.1)


def call(
    api: str, method: str, path: str, token: str, body: dict[str, str] | None = None
) -> dict[str, object]:
    """One accepted exchange with the service."""
    request = urllib.request.Request(
        f"http://{api}/api/v1/investment{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": str(uuid.uuid4()),
        },
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def wait_for_field(api: str, path: str, token: str, field: str, wanted: str) -> None:
    """Polls a resource until a field has its value."""
    deadline = time.monotonic() + CHANGE_WITHIN_S
    while (found := call(api, "GET", path, token))[field] != wanted:
        assert time.monotonic() < deadline, f"{path}: {found}, not {field}={wanted}"
        time.sleep(0.1)


def invest_once(create_at: str, execute_at: str) -> None:
    """Funds a new user, creates an investment at one API and executes it at the other."""
    user, token = str(uuid.uuid4()), f"user-{uuid.uuid4().hex}"
    call(create_at, "POST", "/users", ADMIN_TOKEN, {"user_id": user, "token": token})
    deposit = {"amount_minor": "12345", "currency": "EUR", "reference": str(uuid.uuid4())}
    call(create_at, "POST", f"/wallets/{user}/deposits", ADMIN_TOKEN, deposit)
    wait_for_field(create_at, f"/wallets/{user}", token, "balance_minor", "12345")
    order = {"amount_minor": "12001", "currency": "EUR", "instrument": "FUND-A"}
    made = call(create_at, "POST", "/investments", token, order)["investment_id"]
    call(execute_at, "POST", f"/investments/{made}/execute", token)
    wait_for_field(execute_at, f"/investments/{made}", token, "state", "EXECUTED")
    wait_for_field(execute_at, f"/wallets/{user}", token, "balance_minor", "344")


def labelled(kind: list[str], run_label: str) -> list[str]:
    """What of a kind still carries the run's label."""
    listed = subprocess.run(
        ["docker", *kind, "--filter", f"label=stormproof.run={run_label}", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return listed.stdout.split()


def states_of(run_label: str) -> dict[str, dict[str, object]]:
    """What the engine says about every container of a run, by the name of its service."""
    ids = labelled(["ps", "--all"], run_label)
    shown = subprocess.run(
        ["docker", "inspect", *ids], capture_output=True, text=True, timeout=60, check=True
    )
    containers = json.loads(shown.stdout)
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in containers}


def check_all_started(run_label: str) -> None:
    containers = states_of(run_label)
    assert containers.keys() == COMPOSE["services"].keys()
    for name in PROCESSES:
        assert containers[name]["State"]["Status"] == "running", name
        assert containers[name]["RestartCount"] == 0, name
    assert containers["migrate"]["State"]["ExitCode"] == 0


def check_links_are_separate(stack: Stack, api_1: str, api_2: str) -> None:
    """A closed link closes the way of its own process to the database, and no other's."""
    link = f"http://{stack.address('proxy', 8474)}/proxies/api-1-postgres"
    assert status_of(link, method="POST", body={"enabled": False}) == 200
    wait_for_status(f"http://{api_1}/readyz", {503}, within_s=CHANGE_WITHIN_S)
    assert status_of(f"http://{api_2}/readyz") == 200
    assert status_of(link, method="POST", body={"enabled": True}) == 200
    wait_for_status(f"http://{api_1}/readyz", {200}, within_s=CHANGE_WITHIN_S)


def check_supervised(stack: Stack, run_label: str) -> None:
    """A process that dies is started again by the engine."""
    before = states_of(run_label)["worker"]["State"]["StartedAt"]
    # Its main process, not the init above it: that one would count as stopped on purpose.
    kill = "kill -KILL $(cat /proc/1/task/1/children)"
    stack.compose("exec", "-T", "worker", "bash", "-c", kill)
    deadline = time.monotonic() + CHANGE_WITHIN_S
    while True:
        worker = states_of(run_label)["worker"]
        state = worker["State"]
        if worker["RestartCount"] == 1 and state["Running"] and state["StartedAt"] != before:
            return
        assert time.monotonic() < deadline, f"the worker was not restarted: {state}"
        time.sleep(0.1)


def test_stack_moves_money_through_its_proxies_and_leaves_nothing(
    images: dict[str, str], run_label: str
) -> None:
    for command in compose_commands():
        with running(command, run_label) as stack:
            api_1, api_2 = stack.address("proxy", 21001), stack.address("proxy", 21002)
            partner = stack.address("partner", 8080)
            wait_for_status(f"http://{api_1}/readyz", {200}, within_s=READY_WITHIN_S)
            wait_for_status(f"http://{api_2}/readyz", {200}, within_s=READY_WITHIN_S)
            wait_for_status(f"http://{partner}/healthz", {200}, within_s=READY_WITHIN_S)
            check_all_started(run_label)
            invest_once(api_1, api_2)
            check_links_are_separate(stack, api_1, api_2)
            check_supervised(stack, run_label)
            invest_once(api_2, api_1)
        for kind in (["ps", "--all"], ["network", "ls"], ["volume", "ls"]):
            assert labelled(kind, run_label) == [], kind
