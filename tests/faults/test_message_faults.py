"""Each message fault on a real flow: it bites, its observer says so, and money stays right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fault_injection.faults.admin_shutdown import AdminShutdown
from fault_injection.faults.deadlock import Deadlock
from fault_injection.faults.partner_500_after_executing import Partner500AfterExecuting
from fault_injection.faults.partner_garbage import PartnerGarbage
from fault_injection.faults.partner_reply_truncated import PartnerReplyTruncated
from fault_injection.faults.partner_request_late import PartnerRequestLate
from fault_injection.faults.partner_request_twice import PartnerRequestTwice
from fault_injection.faults.redis_loading import RedisLoading
from fault_injection.faults.redis_out_of_memory import RedisOutOfMemory
from fault_injection.faults.redis_readonly import RedisReadonly
from fault_injection.faults.request_reset import RequestReset
from fault_injection.faults.serialization_failure import SerializationFailure
from fault_injection.message_fault import MessageFault
from harness.core import clock
from harness.core.history import Outcome
from harness.core.waits import wait_until
from harness.engine.observed import Observation
from load.drivers.threads import run_threads
from load.job import LoadJob

pytestmark = [pytest.mark.stack, pytest.mark.nightly]
DATABASE, PARTNER, QUEUE = "worker-postgres", "worker-partner", "relay-redis"
PUBLISHER = {"publisher": "relay", "sign": "publish_failed"}
AIMED: list[Callable[[str], MessageFault]] = [
    lambda trace: RequestReset(link=DATABASE, trace=trace, message_kind="COMMIT"),
    lambda trace: RequestReset(link=DATABASE, trace=trace, message_kind="INSERT"),
    lambda trace: SerializationFailure(link=DATABASE, trace=trace, message_kind="INSERT"),
    lambda trace: Deadlock(link=DATABASE, trace=trace, message_kind="UPDATE"),
    lambda trace: AdminShutdown(link=DATABASE, trace=trace, message_kind="INSERT"),
    lambda trace: Partner500AfterExecuting(link=PARTNER, trace=trace),
    lambda trace: PartnerGarbage(link=PARTNER, trace=trace),
    lambda trace: PartnerReplyTruncated(link=PARTNER, trace=trace),
    lambda trace: PartnerRequestTwice(link=PARTNER, trace=trace),
    lambda trace: PartnerRequestLate(link=PARTNER, trace=trace, delay_ms=800),
    lambda trace: RedisLoading(link=QUEUE, trace=trace, **PUBLISHER),
    lambda trace: RedisReadonly(link=QUEUE, trace=trace, **PUBLISHER),
    lambda trace: RedisOutOfMemory(link=QUEUE, trace=trace, **PUBLISHER),
]


def test_every_fault_bites_its_own_flow_and_no_money_moves_twice(stack, faults, history) -> None:
    """All at once, each on an execution of its own, beside as many that nothing is done to."""
    cast = stack.cast("message-faults")
    numbers = tuple(range(2 * len(AIMED)))
    proxies = stack.stack.proxies

    def drive(workload: str, known: dict[int, dict[str, str]]) -> dict[int, dict[str, str]]:
        job = LoadJob(
            workload=workload,
            numbers=numbers,
            clients=len(numbers),
            cast=cast,
            entries=stack.entry_urls(),
            target=stack.target.spec.folder,
            known=known,
        )
        return run_threads(job, stack.target.door.clients, history.append).known

    def observe() -> Observation:
        seen = Observation(stack.stack, events_from=events_from, logs_from=logs_from)
        seen.take_books(books(), partner_from=0)
        return seen

    def books():  # type: ignore[no-untyped-def]
        urls = stack.stack.direct_urls()
        return stack.target.door.ledger.books(dsn=stack.postgres_dsn, urls=urls)

    opened = drive("open-investments", {})
    events_from = proxies.events(0)[1]
    logs_from = {name: stack.stack.log(name)[1] for name in stack.stack.log_names()}
    traces = [cast.operation("execute-investment", number).trace for number in numbers]
    aimed = [faults.inject(make(traces[2 * at])) for at, make in enumerate(AIMED)]
    untouched = [make(traces[2 * at + 1]) for at, make in enumerate(AIMED)]
    begun_ns = clock.monotonic_ns()
    drive("execute-investments", opened)

    def proofs() -> dict[str, str]:
        seen = observe()
        missing = {fault.id: fault.proof(seen) for fault in aimed}
        return {name: str(proof) for name, proof in missing.items() if not proof.bit}

    wait_until(lambda: not proofs(), what=f"proofs of {proofs()}", seconds=10)
    seen = observe()
    for fault in untouched:
        assert not fault.proof(seen).bit, fault.id
    for fault in aimed:
        assert begun_ns < fault.claim(seen).at_ns < clock.monotonic_ns()
    # A key that is used for something else is refused, as it must be.
    own = [done for done in history if not done.operation.id.endswith("repeat-otherwise")]
    assert [done for done in own if done.outcome != Outcome.OK] == []
    for trace in traces:
        orders = [order for order in books().partner_orders if order.trace == trace]
        assert len(orders) == 1, trace
