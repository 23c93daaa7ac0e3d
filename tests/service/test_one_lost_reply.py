"""One execution whose partner reply is lost."""

import pytest

from fault_injection.faults.partner_reply_lost import PartnerReplyLost
from harness.core.history import Outcome
from load.drivers.threads import run_threads
from load.job import LoadJob


@pytest.mark.stack
def test_an_order_whose_reply_is_lost_is_executed_once(stack, faults, history) -> None:
    cast = stack.cast("one-lost-reply")

    def drive(workload: str, known: dict[int, dict[str, str]]) -> dict[int, dict[str, str]]:
        job = LoadJob(
            workload=workload,
            numbers=(0,),
            clients=1,
            cast=cast,
            entries=stack.entry_urls(),
            target=stack.target.spec.folder,
            known=known,
        )
        return run_threads(job, stack.target.door.clients, history.append).known

    opened = drive("open-investments", {})
    trace = cast.operation("execute-investment", 0).trace
    faults.inject(PartnerReplyLost(link="worker-partner", trace=trace))
    drive("execute-investments", opened)

    assert {done.outcome for done in history} == {Outcome.OK}
    books = stack.target.door.ledger.books(dsn=stack.postgres_dsn, urls=stack.stack.direct_urls())
    assert len([order for order in books.partner_orders if order.trace == trace]) == 1
    assert [event.event for event in books.partner_events if event.trace == trace].count("query")
