"""Hooks on the whole reference service, whose source knows nothing of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import SEED, RunningStack
from fault_injection.faults.hook_kill import HookKill
from fault_injection.hooks import HookController
from harness.cli import wiring
from harness.core.seeds import fresh_id
from harness.core.waits import wait_until
from harness.stacks.embedded import EmbeddedStack
from harness.stacks.options import StackOptions
from tests.service.conftest import Partner, Service

pytestmark = [pytest.mark.stack, pytest.mark.nightly]
TRACE = "5e" * 16
RESOLVER = "investment.tracing:current_traceparent"


@pytest.fixture(scope="module")
def hooked() -> Iterator[RunningStack]:
    wiring.discover()
    target = wiring.target_named("investment")
    with HookController(resolver=RESOLVER) as controller:
        options = StackOptions(
            run_id=f"test-{fresh_id()}", seed=SEED, proxy_argv=wiring.PROXY_ARGV, hooks=controller
        )
        stack = EmbeddedStack(target, options)
        try:
            stack.up()
            yield RunningStack(stack, target)
        finally:
            stack.down()


@pytest.fixture
def client(hooked: RunningStack) -> Service:
    urls = [hooked.client_url(entry) for entry in ("api-1", "api-2")]
    return Service(urls, hooked.admin_token)


def test_every_python_process_joins(hooked: RunningStack) -> None:
    names = {state.name for state in hooked.stack.hooks.processes()}
    assert names == {process.name for process in hooked.target.spec.processes}


def test_a_worker_dies_after_the_partner_executed(
    hooked: RunningStack, client: Service
) -> None:
    """One trace is hit, at the one place where all is done and nothing is written down."""
    user = client.user(100_000)
    chosen, other = (client.investment(user, amount) for amount in (7_001, 7_003))
    fault = HookKill(
        point="investment.execution:ask_partner@exit", process="worker", trace=TRACE
    )
    fault.inject(hooked.stack)
    header = {"traceparent": f"00-{TRACE}-{'01' * 8}-01"}
    jobs = [client.execute(user, other), client.execute(user, chosen, headers=header)]
    assert [client.finish(job, 60)["state"] for job in jobs] == ["SUCCEEDED", "SUCCEEDED"]
    proof = fault.proof(None)  # type: ignore[arg-type]
    assert proof.bit, proof
    fault.heal(hooked.stack)
    before, after = fault.claims()
    assert (before.process, before.trace, after.outcome) == ("worker", TRACE, "connection ended")
    executed = Partner(hooked.partner_url).executed(user.user_id)
    assert sorted(int(order["amount_minor"]) for order in executed) == [7_001, 7_003]
    assert client.balance(user) == 100_000 - 7_001 - 7_003


def test_two_executions_meet_where_a_pause_holds_them(
    hooked: RunningStack, client: Service
) -> None:
    """Both are at the same place at the same time, in whichever processes serve them."""
    user = client.user(100_000)
    ids = [client.investment(user, amount) for amount in (5_001, 5_003)]
    hooks = hooked.stack.hooks
    armed = hooks.arm("investment.execution:ask_partner@entry", "2*pause(20s)", process="worker")
    with ThreadPoolExecutor(2) as pool:
        jobs = list(pool.map(lambda each: client.execute(user, each), ids))
    wait_until(lambda: len(hooks.paused(armed)) == 2, what="both to pause", seconds=20)
    assert hooks.release(armed) == 2
    assert [client.finish(job, 60)["state"] for job in jobs] == ["SUCCEEDED", "SUCCEEDED"]
    hooks.disarm(armed)
