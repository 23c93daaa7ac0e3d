"""So many accepted writes within an hour and not one more, whatever Redis does."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import pytest
import redis

from tests.service.rollout import wait_for
from tests.service.writes import (
    ACTIONS,
    CANARY,
    CANCEL,
    CREATE,
    DEPOSIT,
    EXECUTE,
    FLAG,
    OPERATIONS,
    SET_FLAG,
    USER,
    Writes,
)

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"
# What the stack runs with: the service's defaults.
LIMITS = {
    "create_investment": 5,
    "execute_investment": 10,
    "distribute_dividends": 5,
    "cancel_investment": 20,
    "deposit": 60,
    "close_wallet": 10_000,
    "set_flag": 600,
}
CANCEL_THE_WAITING = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO rate_users%'"""
LIMITED = [operation for operation in OPERATIONS if operation != USER]


@pytest.fixture
def writes(service, database, flags) -> Writes:  # noqa: ANN001 - the flags are restored afterwards
    return Writes(service, database)


@pytest.fixture
def hints(stack) -> Iterator[redis.Redis]:  # noqa: ANN001
    """What Redis knows of answers and limits; nothing at first."""
    address = stack.stack.proxies.listening()["relay-redis"]
    with redis.Redis.from_url(f"redis://{address}/1", protocol=2) as client:
        client.flushdb()
        yield client


@contextmanager
def redis_cut(stack) -> Iterator[None]:  # noqa: ANN001
    """The API processes cannot reach Redis."""
    links = ("api-1-redis", "api-2-redis")
    for link in links:
        stack.stack.proxies.add_toxic(
            link, name="cut", type="reset_peer", stream="downstream", attributes={"timeout": 0}
        )
    try:
        yield
    finally:
        for link in links:
            stack.stack.proxies.remove_toxic(link, "cut")


def send_all(writes: Writes, operation: str, count: int, **options: object) -> list:
    """Fresh requests at once over both processes; what depends on the one before, in turn."""
    if operation in (SET_FLAG, CANARY):
        return [writes.send(writes.ready(operation), api=n, **options) for n in range(count)]
    requests = [writes.ready(operation) for _ in range(count)]

    def send(number: int) -> object:
        # On a slow machine a wallet's lock may be waited for in vain: the same key, again.
        key, deadline = str(uuid4()), time.monotonic() + 20
        while True:
            reply = writes.send(requests[number], api=number, key=key, **options)
            if reply.status != 503:
                return reply
            assert time.monotonic() < deadline, reply.content

    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(send, range(count)))


@pytest.mark.parametrize("operation", LIMITED)
def test_the_limit_is_reached_and_not_passed(writes, operation: str) -> None:
    limit = LIMITS[ACTIONS[operation]]
    writes.fill(operation, limit - 2 - writes.events(operation))
    replies = send_all(writes, operation, 6)
    refused = [reply for reply in replies if reply.status == 429]
    assert len(refused) == 4, [reply.content for reply in replies]
    assert sum(200 <= reply.status < 300 for reply in replies) == 2
    assert writes.events(operation) == limit
    for reply in refused:
        assert (reply.document["code"], reply.document["retryable"]) == ("rate-limited", True)
        assert 1700 < int(reply.headers["Retry-After"]) <= 1800


@pytest.mark.parametrize("redis_is", ["there", "emptied", "away"])
def test_five_of_fifteen_at_once_over_both_processes(stack, writes, hints, redis_is) -> None:
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    if redis_is == "away":
        with redis_cut(stack):
            replies = send_all(writes, CREATE, 15, headers=headers)
            replies += send_all(writes, CREATE, 2, headers=headers)
    else:
        replies = send_all(writes, CREATE, 15, headers=headers)
        if redis_is == "emptied":
            hints.flushdb()
        replies += send_all(writes, CREATE, 2, headers=headers)
    assert Counter(reply.status for reply in replies) == {201: 5, 429: 12}
    assert writes.events(CREATE) == 5
    for entry in ("api-1", "api-2"):
        assert trace_id in stack.stack.log(entry)[0]


def test_ten_of_twenty_executions_at_once(writes) -> None:
    replies = send_all(writes, EXECUTE, 20)
    assert Counter(reply.status for reply in replies) == {202: 10, 429: 10}


def test_one_users_limit_of_one_action_is_nobody_elses(writes, service, database) -> None:
    kept = writes.investment()
    writes.fund()
    writes.fill(CREATE, 5)
    assert writes.send(writes.ready(CREATE)).status == 429
    assert service.execute(writes.user, kept).status == 202
    other = Writes(service, database)
    assert other.send(other.ready(CREATE)).status == 201
    # A deposit is counted for its wallet's user, whichever administrator makes it.
    writes.fill(DEPOSIT, LIMITS["deposit"])
    assert service.deposit(writes.user, 5).status == 429
    assert other.send(other.ready(DEPOSIT)).status == 202


def test_what_an_administrator_does_for_a_user_is_counted_for_the_user(writes, service) -> None:
    writes.fund()
    for path, operation in (("execute", EXECUTE), ("cancel", CANCEL)):
        url = f"{PREFIX}/investments/{writes.investment()}/{path}"
        before = writes.events(operation)
        reply = service.send("POST", url, token=writes.admin_token)
        assert reply.status in (200, 202), reply.content
        assert writes.events(operation) == before + 1
    found = "SELECT count(*) FROM rate_events WHERE user_id = %s"
    assert writes.database.execute(found, [writes.admin_id]).fetchone() == (0,)


def test_switching_off_is_never_limited(writes, flags) -> None:
    writes.fill(SET_FLAG, LIMITS["set_flag"])
    off = [{"enabled": False, "pct": 100}, {"enabled": True, "pct": 0}]
    for change, status in ((off[0], 200), ({"enabled": True, "pct": 100}, 429), (off[1], 200)):
        reply = flags.put(FLAG, **change, token=writes.admin_token)
        assert reply.status == status, reply.content
    assert writes.events(SET_FLAG) == LIMITS["set_flag"]


def test_creating_users_is_counted_too(writes) -> None:
    assert [reply.status for reply in send_all(writes, USER, 4)] == [201] * 4
    assert writes.events(USER) == 4


@pytest.mark.parametrize("redis_is", ["there", "emptied", "away"])
def test_a_replay_is_free(stack, writes, hints, redis_is: str) -> None:
    ready, key = writes.ready(CREATE), str(uuid4())
    first = writes.send(ready, key=key)
    writes.fill(CREATE, 5)
    assert writes.send(writes.ready(CREATE)).status == 429

    def replay() -> list:
        return [writes.send(ready, key=key, api=n) for n in (0, 1)]

    if redis_is == "away":
        with redis_cut(stack):
            replies = replay()
    else:
        if redis_is == "emptied":
            # The answer is forgotten, but not that the user is limited.
            mine = writes.user.user_id.encode()
            [answer] = [name for name in hints.keys("answer:*") if mine in hints.get(name)]
            hints.delete(answer)
            assert hints.keys("limited:*")
        replies = replay()
    assert all(reply.replayed for reply in replies)
    assert {(r.status, r.content) for r in replies} == {(201, first.content)}
    assert writes.events(CREATE) == 6


def test_retry_after_is_honest(writes, hints) -> None:
    writes.fill(CREATE, 5)
    refused = writes.send(writes.ready(CREATE))
    writes.age(CREATE, int(refused.headers["Retry-After"]) - 1)
    sent = time.monotonic()
    refused = writes.send(writes.ready(CREATE))
    assert refused.status == 429
    wait_s = int(refused.headers["Retry-After"])
    assert wait_s == 1
    # The hint that the user is limited is older and thinks of another time: it decides nothing.
    assert hints.keys("limited:*")
    while (reply := writes.send(writes.ready(CREATE))).status == 429:
        assert time.monotonic() - sent < wait_s, "refused when the time was over"
        time.sleep(0.02)
    assert reply.status == 201
    assert time.monotonic() - sent > wait_s / 2, "accepted before the time was over"


def test_what_is_refused_or_rolled_back_is_not_counted(writes, service, database) -> None:
    writes.fund()
    user, ready, key = writes.user, writes.ready(CREATE), str(uuid4())
    investment_id = writes.send(ready, key=key).document["investment_id"]
    other_currency = ready.body | {"currency": "USD"}
    path = f"/investments/{investment_id}/execute"
    accepted = service.execute(user, investment_id)
    assert accepted.status == 202
    assert (writes.events(CREATE), writes.events(EXECUTE)) == (1, 1)

    def refused(path: str, body: dict | None, **options: str) -> int:
        return service.send("POST", PREFIX + path, body, token=user.token, **options).status

    assert refused("/investments", ready.body | {"amount_minor": "0"}) == 422
    assert refused("/investments", other_currency) == 422
    assert refused("/investments", other_currency, key=key) == 422
    assert refused("/investments", ready.body, key="a b") == 400
    assert refused(path, None) == 409
    assert refused(f"/investments/{uuid4()}/execute", None) == 404
    too_much = ready.body | {"amount_minor": "1001"}
    reply = service.send("POST", f"{PREFIX}/investments", too_much, token=user.token)
    assert refused(f"/investments/{reply.document['investment_id']}/execute", None) == 422
    assert (writes.events(CREATE), writes.events(EXECUTE)) == (2, 1)

    again = str(uuid4())
    with database.transaction(force_rollback=True), ThreadPoolExecutor(1) as client:
        # Somebody is being counted and comes to no end: nobody overtakes. Then it is cancelled.
        database.execute("SELECT FROM rate_users WHERE user_id = %s FOR UPDATE", [user.user_id])
        waiting = client.submit(refused, "/investments", ready.body, key=again)

        def cancelled() -> list:
            database.execute("SELECT pg_stat_clear_snapshot()")
            return database.execute(CANCEL_THE_WAITING).fetchall()

        wait_for(cancelled, "a lock to wait for")
        assert waiting.result() == 503
    stored = "SELECT count(*) FROM idempotency_keys WHERE key = %s"
    assert database.execute(stored, [again]).fetchone() == (0,)
    assert writes.events(CREATE) == 2
    assert refused("/investments", ready.body, key=again) == 201
    assert writes.events(CREATE) == 3


def test_deleted_events_are_older_than_what_counts(writes, database) -> None:
    writes.fill(CREATE, 3)
    writes.age(CREATE, 24 * 3600)
    mine = f"rate_events WHERE user_id = '{writes.user.user_id}' AND action = '{ACTIONS[CREATE]}'"
    # Among the oldest by id, as they would be after a day.
    database.execute(
        "INSERT INTO rate_events (id, user_id, action, at) OVERRIDING SYSTEM VALUE"
        f" SELECT -id, user_id, action, at FROM {mine}"
    )
    database.execute(f"DELETE FROM {mine} AND id > 0")
    assert writes.events(CREATE) == 0
    left = f"SELECT count(*) FROM {mine}"
    wait_for(lambda: database.execute(left).fetchone() == (0,), "the reaper")
