"""However long the partner is away, its orders end by themselves when it comes back.

A service of its own, with timers of fractions of a second, in the stack's PostgreSQL and Redis:
here the partner is a process on a port that tests leave empty or give to somebody else.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import urllib3
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.stacks.ports import free_port

pytestmark = [pytest.mark.stack, pytest.mark.long]

SOURCE = Path(__file__).parents[2] / "system_under_test"
MAX_ATTEMPTS, REVIEW_AFTER_S, READ_TIMEOUT_S = 4, 2.5, 1.5
SETTINGS = {
    "INVESTMENT_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "INVESTMENT_REVIEW_AFTER_MS": str(int(REVIEW_AFTER_S * 1000)),
    "INVESTMENT_PARTNER_READ_TIMEOUT_MS": str(int(READ_TIMEOUT_S * 1000)),
    "INVESTMENT_PARTNER_CONNECT_TIMEOUT_MS": "300",
    "INVESTMENT_RETRY_BASE_MS": "50",
    "INVESTMENT_RETRY_CAP_MS": "300",
    # A delay beyond the longest that the service sets is of a clock that went back: none at all.
    "INVESTMENT_REVIEW_RETRY_MS": "3600000",
    "INVESTMENT_JOB_LEASE_MS": "1900",
    "INVESTMENT_REDISPATCH_AFTER_MS": "300",
    "INVESTMENT_SWEEP_TICK_MS": "100",
    "INVESTMENT_RELAY_POLL_MS": "100",
    "INVESTMENT_WORKER_CHILDREN": "1",
}


def wait_for(condition: Callable[[], object], *, seconds: float = 20) -> float:
    """How long it took until the condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - started


def answers(url: str) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", url, retries=False, timeout=1).status == 200
    return False


@dataclass
class OwnService:
    """The service's processes beside the stack's, and the port where its partner belongs."""

    service: object
    database: psycopg.Connection
    partner_port: int
    start: Callable[..., "contextlib.AbstractContextManager[None]"]
    journal: Path

    @contextlib.contextmanager
    def partner(self) -> Iterator[str]:
        arguments = ["--port", str(self.partner_port), "--journal", str(self.journal)]
        with self.start("partner", *arguments):
            url = f"http://127.0.0.1:{self.partner_port}"
            wait_for(lambda: answers(f"{url}/healthz"))
            yield url

    @contextlib.contextmanager
    def somebody_else(self, *, hangs_up: bool) -> Iterator[None]:
        """Connections come about, and then end at once, or nobody ever reads from them."""

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        with socket.create_server(("127.0.0.1", self.partner_port)) as server:
            if hangs_up:
                threading.Thread(target=hang_up, daemon=True).start()
            yield
            server.shutdown(socket.SHUT_RDWR)

    def one(self, query: str, *values: object) -> tuple:
        return self.database.execute(query, values).fetchone()

    def order(self, investment_id: str) -> tuple[str, int]:
        return self.one(
            "SELECT status, attempts FROM partner_orders WHERE investment_id = %s", investment_id
        )

    def hold(self, investment_id: str) -> int:
        return self.one(
            "SELECT balance_minor FROM ledger_accounts WHERE id = %s", f"L:HOLD:{investment_id}"
        )[0]


@pytest.fixture(scope="module")
def own(stack, connect, tmp_path_factory) -> Iterator[OwnService]:  # noqa: ANN001
    folder = tmp_path_factory.mktemp("own-service")
    name, admin_token = f"outage_{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    dsn = make_conninfo(stack.postgres_dsn, dbname=name)
    of = conninfo_to_dict(dsn)
    redis_address = stack.stack.proxies.listening()["worker-redis"]
    partner_port, api_port = free_port(), free_port()

    def url_of(role: str) -> str:
        address = f"{of['host']}:{of['port']}/{name}"
        return f"postgresql+psycopg://{role}:{of['password']}@{address}"

    environment = os.environ | SETTINGS | dict(stack.stack.secrets) | {
        "PYTHONPATH": str(SOURCE),
        "INVESTMENT_ADMIN_TOKEN": admin_token,
        "INVESTMENT_DATABASE_URL": url_of("investment_app"),
        "INVESTMENT_REDIS_URL": f"redis://{redis_address}/5",
        "INVESTMENT_PARTNER_URL": f"http://127.0.0.1:{partner_port}",
    }  # fmt: skip

    @contextlib.contextmanager
    def start(*arguments: str) -> Iterator[None]:
        argv = [sys.executable, "-m", *arguments]
        with (folder / f"{arguments[-1].rpartition('/')[2]}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    with psycopg.connect(stack.postgres_dsn, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            prepare = [sys.executable, "-m", "investment", "prepare"]
            as_owner = environment | {
                "INVESTMENT_DATABASE_URL": url_of(of["user"]),
                "INVESTMENT_APP_PASSWORD": of["password"],
                "INVESTMENT_INITIAL_FLAGS": "on",
            }
            subprocess.run(prepare, env=as_owner, check=True, timeout=60, capture_output=True)
            with contextlib.ExitStack() as running:
                running.enter_context(start("investment", "api", "--port", str(api_port)))
                for process in ("worker", "relay", "sweeper"):
                    running.enter_context(start("investment", process))
                url = f"http://127.0.0.1:{api_port}"
                wait_for(lambda: answers(f"{url}/readyz"))
                database = running.enter_context(psycopg.connect(dsn, autocommit=True))
                service = connect([url], admin_token)
                yield OwnService(service, database, partner_port, start, folder / "journal")
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_nobody_is_bothered_when_the_partner_was_down_and_nothing_was_sent(own) -> None:  # noqa: ANN001
    user = own.service.user(1_000)
    investment_id = own.service.investment(user, 700)
    accepted = own.service.execute(user, investment_id)
    path = f"/jobs/{accepted.document['job_id']}"
    down_since = time.monotonic()

    def long_down() -> bool:
        job = own.service.get(path)
        assert job["state"] in ("PENDING", "RUNNING", "WAITING")
        enough = job["attempts"] > 3 * MAX_ATTEMPTS
        return enough and time.monotonic() - down_since > 8

    wait_for(long_down)
    wait_for(lambda: own.order(investment_id)[0] == "INTENT")
    assert (own.service.balance(user), own.hold(investment_id)) == (300, 700)
    # The rate is bounded: a pause of 25 ms to 300 ms before every attempt, 160 ms on average.
    assert own.service.get(path)["attempts"] < 100
    with own.partner():
        assert own.service.finish(accepted)["state"] == "SUCCEEDED"
    assert own.service.state(investment_id) == "EXECUTED"
    assert (own.service.balance(user), own.hold(investment_id)) == (300, 0)


def test_at_the_horizon_a_person_is_asked_and_the_partners_return_still_ends_it(own) -> None:  # noqa: ANN001
    user = own.service.user(1_000)
    investment_id = own.service.investment(user, 600)
    with own.somebody_else(hangs_up=True):
        asked = time.monotonic()
        accepted = own.service.execute(user, investment_id)
        assert own.service.finish(accepted)["state"] == "REVIEW"
        assert time.monotonic() - asked > REVIEW_AFTER_S
        job = own.service.get(f"/jobs/{accepted.document['job_id']}")
        assert job["attempts"] >= MAX_ATTEMPTS
        assert own.service.state(investment_id) == "REVIEW"
        assert own.order(investment_id)[0] == "UNKNOWN"
        assert (own.service.balance(user), own.hold(investment_id)) == (400, 600)
    with own.partner() as url:
        wait_for(lambda: own.service.state(investment_id) == "EXECUTED")
        journal = urllib3.request("GET", f"{url}/journal").data.decode()
    client_order_id = own.one(
        "SELECT client_order_id FROM partner_orders WHERE investment_id = %s", investment_id
    )[0]
    records = [json.loads(line) for line in journal.splitlines()]
    events = [r["event"] for r in records if r["client_order_id"] == str(client_order_id)]
    assert events == ["query", "submit", "executed"]
    end = own.service.get(f"/jobs/{accepted.document['job_id']}")
    assert (end["state"], end["attempts"]) == ("SUCCEEDED", job["attempts"])
    assert (own.service.balance(user), own.hold(investment_id)) == (400, 0)
    fences = own.database.execute(
        "SELECT fence FROM job_state_logs WHERE job_id = %s ORDER BY id", (end["job_id"],)
    ).fetchall()
    assert fences[-1] > fences[-2]


def test_a_lost_message_is_sent_again_while_the_partner_hangs(own) -> None:  # noqa: ANN001
    user, other = own.service.user(1_000), own.service.user(1_000)
    owners = [user, other] * 4
    started = [own.service.execute(one, own.service.investment(one, 10)) for one in owners]
    job_ids = [reply.document["job_id"] for reply in started]
    put_off = "UPDATE jobs SET next_run_at = now() + interval '50 min' WHERE state = 'WAITING'"
    count = "SELECT count(*) FROM jobs WHERE id = ANY(%s) AND next_run_at > now() + interval '1 m'"

    def no_worker_asks_any_more() -> bool:
        own.database.execute(put_off)
        return own.one(count, job_ids)[0] == len(job_ids)

    wait_for(no_worker_asks_any_more)
    with own.somebody_else(hangs_up=False):
        # Only the reconciliation is left to ask: eight questions that each hang to the timeout.
        wait_for(
            lambda: own.one(
                "SELECT count(*) > 0 FROM partner_orders o JOIN jobs j"
                " ON j.subject_id = o.investment_id::text WHERE j.id = ANY(%s)"
                " AND j.lease_until IS NULL AND o.checked_at < now() - interval '2.4 s'",
                job_ids,
            )[0]
        )
        delays = [wait_for(lose_a_message(own, user)) for _ in range(5)]
    print("posted after", [f"{delay:.2f} s" for delay in delays])
    assert max(delays) < READ_TIMEOUT_S
    own.database.execute("UPDATE jobs SET next_run_at = now() WHERE id = ANY(%s)", (job_ids,))
    with own.partner():
        for reply in started:
            assert own.service.finish(reply)["state"] == "SUCCEEDED"


def lose_a_message(own, user) -> Callable[[], bool]:  # noqa: ANN001
    """A deposit that was accepted and published, and of which Redis knows nothing."""
    deposit_id, job_id = str(uuid4()), uuid4()
    with own.database.transaction():
        own.database.execute(
            "INSERT INTO deposits"
            " (id, reference_token, reference_index, user_id, amount_minor, currency)"
            " VALUES (%s, gen_random_uuid(), %s, %s, 1, 'EUR')",
            (deposit_id, secrets.token_bytes(32), user.user_id),
        )
        own.database.execute(
            "INSERT INTO jobs (id, kind, subject_id, user_id, state)"
            " VALUES (%s, 'deposit', %s, %s, 'PENDING')",
            (job_id, deposit_id, user.user_id),
        )
        own.database.execute(
            "INSERT INTO outbox (id, job_id, status, published_at)"
            " VALUES (%s, %s, 'published', now() - interval '1 hour')",
            (uuid4(), job_id),
        )
    return lambda: own.one("SELECT state FROM jobs WHERE id = %s", job_id)[0] == "SUCCEEDED"
