"""The pages of operators tell the truth, and never hang."""

import json
import os
import signal
import threading
import time

import psycopg
import pytest
import urllib3

from tests.service.conftest import PREFIX

pytestmark = [pytest.mark.stack, pytest.mark.long]

PROMPT_S = 3.5


def page(stack, path: str) -> tuple[int, dict, float]:  # noqa: ANN001
    """Status, document and how long a page of api-1 took, past every proxy."""
    started = time.monotonic()
    url = stack.stack.direct_urls()["api-1"] + path
    reply = urllib3.request("GET", url, retries=False, timeout=10)
    return reply.status, json.loads(reply.data), time.monotonic() - started


def test_ready_says_why(stack) -> None:  # noqa: ANN001
    status, document, took_s = page(stack, "/readyz")
    assert status == 200
    assert document == {
        "status": "ready",
        "database": {
            "usable": True,
            "revision": "043",
            "expected_revision": "043",
            "guards_lacking": 0,
        },
        "redis": {"reachable": True},
    }
    assert took_s < 1


@pytest.mark.parametrize("kind", ["no answer comes", "no connection comes about"])
def test_without_the_database_it_is_alive_but_not_ready(stack, service, kind: str) -> None:  # noqa: ANN001
    """Also while more requests hang than the process has threads for requests."""
    proxies = stack.stack.proxies
    token = service.user().token
    hangs = kind == "no answer comes"
    toxic = {"type": "timeout", "attributes": {"timeout": 0}} if hangs else {
        "type": "reset_peer", "attributes": {"timeout": 0}
    }  # fmt: skip
    proxies.add_toxic("api-1-postgres", name="away", stream="downstream", **toxic)
    waiting = [threading.Thread(target=read_wallet, args=(stack, token)) for _ in range(60)]
    try:
        for thread in waiting if hangs else ():
            thread.start()
        status, document, took_s = page(stack, "/readyz")
        assert status == 503
        assert document["status"] == "not ready"
        assert document["database"]["usable"] is False
        assert took_s < PROMPT_S
        status, document, took_s = page(stack, "/healthz")
        assert (status, document) == (200, {"status": "alive"})
        assert took_s < 1
    finally:
        proxies.remove_toxic("api-1-postgres", "away")
        for thread in waiting if hangs else ():
            thread.join()
    wait_until_ready(stack)


def read_wallet(stack, token: str) -> None:  # noqa: ANN001
    url = f"{stack.stack.direct_urls()['api-1']}{PREFIX}/jobs/{'0' * 8}-0000-4000-8000-{'0' * 12}"
    headers = {"Authorization": f"Bearer {token}"}
    urllib3.request("GET", url, headers=headers, retries=False, timeout=20)


def wait_until_ready(stack) -> None:  # noqa: ANN001
    deadline = time.monotonic() + 10
    while page(stack, "/readyz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_with_postgres_stopped_in_its_tracks_it_is_not_ready(stack) -> None:  # noqa: ANN001
    """The kernel still accepts connections for it, but nobody is there to answer."""
    with psycopg.connect(stack.postgres_dsn) as connection:
        [path] = connection.execute("SHOW data_directory").fetchone()
    with open(f"{path}/postmaster.pid", encoding="ascii") as file:
        postmaster = int(file.readline())
    os.kill(postmaster, signal.SIGSTOP)
    try:
        status, document, took_s = page(stack, "/readyz")
    finally:
        os.kill(postmaster, signal.SIGCONT)
    assert (status, document["database"]["usable"]) == (503, False)
    assert took_s < PROMPT_S
    wait_until_ready(stack)


def test_without_redis_it_stays_ready_and_says_so(stack) -> None:  # noqa: ANN001
    proxies = stack.stack.proxies
    proxies.add_toxic(
        "api-1-redis", name="away", type="timeout", stream="downstream", attributes={"timeout": 0}
    )
    try:
        status, document, took_s = page(stack, "/readyz")
    finally:
        proxies.remove_toxic("api-1-redis", "away")
    assert (status, document["redis"]) == (200, {"reachable": False})
    assert took_s < PROMPT_S
