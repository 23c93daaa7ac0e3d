"""Processes may die at any time: what was accepted ends, once, and nobody has to do anything."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import urllib3

from tests.service.conftest import PREFIX, User
from tests.service.scratch import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.long]


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(part) for part in text.split()]


def pid_of(stack, name: str) -> int:  # noqa: ANN001
    return next((p.pid for p in stack.stack.processes() if p.name == name), 0)


def postmaster(stack) -> int:  # noqa: ANN001
    """The server behind the command that started it, which may be a wrapper."""
    pid = pid_of(stack, "postgres")
    if not pid:
        return 0
    return pid if "postgres" in Path(f"/proc/{pid}/comm").read_text() else children(pid)[0]


VICTIMS = {
    "api-1": lambda stack: pid_of(stack, "api-1"),
    "api-2": lambda stack: pid_of(stack, "api-2"),
    "one child of the worker": lambda stack: (children(pid_of(stack, "worker")) or [0])[0],
    "relay": lambda stack: pid_of(stack, "relay"),
    "sweeper": lambda stack: pid_of(stack, "sweeper"),
    "worker": lambda stack: pid_of(stack, "worker"),
    "redis": lambda stack: pid_of(stack, "redis"),
    "postgres": postmaster,
}


def insist(service, method: str, path: str, **options: object):  # noqa: ANN001, ANN201
    """What a client does: the same request with the same key until there is an answer."""
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            reply = service.send(method, path, **options)
            if reply.status < 500:
                return reply
        assert time.monotonic() < deadline, f"{method} {path} was not answered in time"
        time.sleep(0.05)


@dataclass
class Order:
    """What a user had executed just before, or just after, a process was killed."""

    user: User
    investment_id: str
    amount_minor: int
    job_id: str = ""

    def execute(self, service) -> None:  # noqa: ANN001
        path = f"{PREFIX}/investments/{self.investment_id}/execute"
        reply = insist(service, "POST", path, token=self.user.token, key=str(uuid4()))
        assert reply.status == 202, reply.content
        self.job_id = reply.document["job_id"]


def test_what_was_accepted_ends_once(stack, service, partner) -> None:  # noqa: ANN001
    """One process after another is killed, with work before it and after it; nobody helps."""
    users = [service.user(1_000) for _ in VICTIMS]
    orders = {
        victim: [
            Order(user, service.investment(user, amount), amount) for amount in (100, 101, 102)
        ]
        for victim, user in zip(VICTIMS, users, strict=True)
    }
    killed = {}
    for victim, (first, second, third) in orders.items():
        wait_for(lambda find=VICTIMS[victim]: find(stack))
        killed[victim] = VICTIMS[victim](stack)
        first.execute(service)
        second.execute(service)
        os.kill(killed[victim], signal.SIGKILL)
        third.execute(service)

    def ended(order: Order) -> bool:
        job = insist(service, "GET", f"{PREFIX}/jobs/{order.job_id}").document
        assert job["state"] not in ("FAILED", "REVIEW"), job
        return job["state"] == "SUCCEEDED"

    for victim, placed in orders.items():
        wait_for(lambda placed=placed: all(ended(order) for order in placed), seconds=30)
        wait_for(lambda v=victim: v.startswith("one") or pid_of(stack, v) not in (0, killed[v]))
        user = placed[0].user
        wallet = insist(service, "GET", f"{PREFIX}/wallets/{user.user_id}").document
        assert wallet["balance_minor"] == "697", f"after the death of {victim}"
        assert captured(stack, [order.investment_id for order in placed]) == [1, 1, 1], victim
        amounts = sorted(r["amount_minor"] for r in partner.executed(user.user_id))
        assert amounts == ["100", "101", "102"], f"after the death of {victim}"
    for api in range(len(service.urls)):
        wait_for(lambda api=api: answers(service, api))


def answers(service, api: int) -> bool:  # noqa: ANN001
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return service.send("GET", "/readyz", api=api).status == 200
    return False


def captured(stack, investments: list[str]) -> list[int]:  # noqa: ANN001
    """How often each investment was booked."""
    query = """SELECT count(*) FROM ledger_transactions
        WHERE kind = 'capture' AND subject_id = ANY(%s) GROUP BY subject_id"""
    with psycopg.connect(stack.postgres_dsn) as connection:
        return [count for (count,) in connection.execute(query, (investments,)).fetchall()]


def test_a_worker_that_lost_its_lease_writes_nothing(stack, service, database, partner) -> None:  # noqa: ANN001
    """Its answer comes when another claim, with a higher fence, has taken over the job."""
    user = service.user(1_000)
    investment_id = service.investment(user, 300)
    _, before = stack.stack.log("worker")
    stack.stack.proxies.add_toxic(
        "worker-partner", name="late", type="latency", stream="downstream",
        attributes={"latency": 1_000},
    )  # fmt: skip
    try:
        accepted = service.execute(user, investment_id)
        sent = "SELECT true FROM partner_orders WHERE investment_id = %s AND status = 'SENT'"
        wait_for(lambda: database.execute(sent, (investment_id,)).fetchone())
        database.execute(
            """UPDATE jobs SET fence = fence + 1, claim_id = NULL, lease_until = clock_timestamp()
            WHERE id = %s AND state = 'RUNNING'""",
            (accepted.document["job_id"],),
        )
        wait_for(lambda: '"settled": false' in stack.stack.log("worker", offset=before)[0])
        assert captured(stack, [investment_id]) == []
    finally:
        stack.stack.proxies.remove_toxic("worker-partner", "late")
    assert service.finish(accepted)["state"] == "SUCCEEDED"
    assert captured(stack, [investment_id]) == [1]
    assert len(partner.executed(user.user_id)) == 1
