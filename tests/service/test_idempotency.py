"""One key, one effect, one answer; one investment, one transfer, whatever the keys."""

import json
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest
import redis
from urllib3 import HTTPHeaderDict

from tests.service.rollout import wait_for
from tests.service.writes import OPERATIONS, Writes

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"
# Ids grow with time, so an old key has a low one.
BEFORE_ALL_OTHERS = """
INSERT INTO idempotency_keys
    (id, user_id, route, key, fingerprint, status, body, location, created_at)
OVERRIDING SYSTEM VALUE
SELECT -id, user_id, route, key || '.old', fingerprint, status, body, location,
    now() - %(days)s * interval '1 day'
FROM idempotency_keys WHERE key = %(key)s"""


@pytest.fixture
def writes(service, database, flags) -> Writes:  # noqa: ANN001 - the flags are restored afterwards
    return Writes(service, database)


def forget_hints(stack) -> None:  # noqa: ANN001
    """Redis loses its hints."""
    address = stack.stack.proxies.listening()["relay-redis"]
    with redis.Redis.from_url(f"redis://{address}/1", protocol=2) as client:
        client.flushdb()


def test_no_write_is_forgotten(service) -> None:
    document = service.send("GET", f"{PREFIX}/openapi.json").document
    keyed = {
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", ()))
    }
    assert keyed == set(OPERATIONS)
    # The partner's events have a natural key of their own.
    unkeyed = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
        if method != "get" and f"{method.upper()} {path.removeprefix(PREFIX)}" not in keyed
    }
    assert unkeyed == {f"POST {PREFIX}/partner-events"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_key_of_eight_clients_is_one_effect_and_one_answer(
    stack, writes, operation: str
) -> None:
    ready, key, trace_id = writes.ready(operation), str(uuid4()), secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    counted = writes.events(operation)
    with ThreadPoolExecutor(8) as clients:
        replies = list(
            clients.map(lambda n: writes.send(ready, key=key, api=n, headers=headers), range(8))
        )
    for entry in ("api-1", "api-2"):
        assert trace_id in stack.stack.log(entry)[0]
    final = [reply for reply in replies if reply.status != 409]
    assert {reply.document["code"] for reply in replies if reply.status == 409} <= {
        "request-in-progress"
    }
    assert 200 <= final[0].status < 300, final[0].content
    assert sum(not reply.replayed for reply in final) == 1
    forget_hints(stack)
    final += [writes.send(ready, key=key, api=n) for n in (0, 1, 0, 1)]
    assert all(reply.replayed for reply in final[-4:])
    assert len({(r.status, r.content, r.headers.get("Location")) for r in final}) == 1
    assert len({r.headers["Content-Type"] for r in final}) == 1
    assert writes.effects(ready) == 1
    assert writes.events(operation) == counted + 1

    if ready.other_body is not None:
        for api in (0, 1):
            other = writes.send(replace(ready, body=ready.other_body), key=key, api=api)
            assert (other.status, other.document["code"]) == (422, "idempotency-key-reused")
        assert writes.send(ready, key=key).content == final[0].content
        assert writes.effects(ready) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_one_good_key_nothing_happens(service, writes, database, operation: str) -> None:
    ready = writes.ready(operation)
    stored = "SELECT count(*) FROM idempotency_keys"
    before = database.execute(stored).fetchone()
    key = str(uuid4())
    for keys, code in (
        ([], "missing"),
        ([""], "missing"),
        (["a b"], "malformed"),
        (['"open'], "malformed"),
        ([f"{key}, {key}"], "malformed"),
        (["schlüssel"], "malformed"),
        (["a" * 256], "malformed"),
        ([key, key], "malformed"),
    ):
        headers = HTTPHeaderDict({"Authorization": f"Bearer {ready.token}"})
        for each in keys:
            headers.add("Idempotency-Key", each)
        body = None
        if ready.body is not None:
            headers["Content-Type"], body = "application/json", json.dumps(ready.body)
        url = service.urls[len(keys) % 2] + PREFIX + ready.path
        reply = service.pool.request(ready.method, url, body=body, headers=headers)
        assert (reply.status, reply.json()["code"]) == (400, f"idempotency-key-{code}"), keys
        assert reply.headers["Content-Type"] == "application/problem+json"
    assert writes.effects(ready) == 0
    assert database.execute(stored).fetchone() == before


def test_a_key_may_have_255_characters(writes) -> None:
    ready, key = writes.ready("POST /investments"), "k" * 255
    assert not writes.send(ready, key=key).replayed
    assert writes.send(ready, key=key).replayed
    assert writes.effects(ready) == 1


def test_an_investment_keeps_its_key(writes, database) -> None:
    ready, key = writes.ready("POST /investments"), str(uuid4())
    investment_id = writes.send(ready, key=key).document["investment_id"]
    kept = "SELECT idempotency_key FROM investments WHERE id = %s"
    assert database.execute(kept, [investment_id]).fetchone() == (key,)


def test_while_the_first_request_runs_the_second_is_told_to_wait(service, database) -> None:
    user, key = service.user(), str(uuid4())
    with database.transaction(force_rollback=True):
        # The first one: it has the key, and does not end.
        database.execute(
            "INSERT INTO idempotency_keys (user_id, route, key, fingerprint)"
            " VALUES (%s, %s, %s, 'its own')",
            (user.user_id, f"POST {PREFIX}/investments", key),
        )
        second = service.create(user, 5, key=key)
    assert (second.status, second.document["code"]) == (409, "request-in-progress")
    assert second.document["retryable"]
    assert int(second.headers["Retry-After"]) >= 1
    third = service.create(user, 5, key=key)
    assert (third.status, third.replayed) == (201, False)


def test_old_keys_are_forgotten_in_time_and_young_ones_kept(writes, database) -> None:
    readies = [writes.ready("POST /investments") for _ in range(2)]
    keys = [str(uuid4()), str(uuid4())]
    with database.transaction():
        for ready, key, days in zip(readies, keys, (31, 29), strict=True):
            assert writes.send(ready, key=key).status == 201
            database.execute(BEFORE_ALL_OTHERS, {"key": key, "days": days})
            database.execute("DELETE FROM idempotency_keys WHERE key = %s AND id > 0", [key])
            database.execute(
                "UPDATE idempotency_keys SET key = %s WHERE key = %s", (key, f"{key}.old")
            )
    left = "SELECT key FROM idempotency_keys WHERE key = ANY(%s)"
    wait_for(lambda: len(database.execute(left, [keys]).fetchall()) < 2, "the reaper")
    assert database.execute(left, [keys]).fetchall() == [(keys[1],)]
    assert writes.send(readies[1], key=keys[1]).replayed


def test_a_replay_has_the_same_bytes_from_both_processes(service) -> None:
    user = service.user(1_000)
    investment_id, key = service.investment(user, 10), str(uuid4())
    first = service.execute(user, investment_id, key=key, api=0)
    service.finish(first)
    for api, spelling in ((0, key), (1, f'"{key}"')):
        replay = service.execute(user, investment_id, key=spelling, api=api)
        assert replay.replayed
        assert (replay.status, replay.content) == (first.status, first.content)
        assert replay.headers["Location"] == first.headers["Location"]
    assert not first.replayed
    assert service.balance(user) == 990


def test_a_new_user_is_replayed_whichever_token_the_administrator_has(service, database) -> None:
    key, body = str(uuid4()), {"currency": "EUR", "token": secrets.token_urlsafe(32)}
    first = service.send("POST", f"{PREFIX}/users", body, key=key)
    assert first.status == 201
    assert body["token"].encode() not in first.content
    other_token = secrets.token_urlsafe(32)
    database.execute(
        "INSERT INTO api_tokens (token_hash, user_id)"
        " SELECT sha256(%s), user_id FROM api_tokens WHERE token_hash = sha256(%s)",
        (other_token.encode(), service.admin_token.encode()),
    )
    for token in (service.admin_token, other_token):
        replay = service.send("POST", f"{PREFIX}/users", body, key=key, token=token)
        assert replay.replayed
        assert (replay.status, replay.content) == (first.status, first.content)
    assert service.get(f"/wallets/{first.document['user_id']}", token=body["token"])


def test_another_payload_under_the_same_key_is_refused(service) -> None:
    user, key = service.user(), str(uuid4())
    first = service.create(user, 5, key=key)
    other = service.create(user, 6, key=key)
    assert (other.status, other.document["code"]) == (422, "idempotency-key-reused")
    assert service.create(user, 5, key=key).content == first.content


def test_keys_are_scoped_by_user_and_by_resource(service) -> None:
    key = str(uuid4())
    users = [service.user(100), service.user(100)]
    created = [service.create(user, 5, key=key) for user in users]
    assert [reply.status for reply in created] == [201, 201]
    assert not any(reply.replayed for reply in created)
    executed = [
        service.execute(user, reply.document["investment_id"], key=key)
        for user, reply in zip(users, created, strict=True)
    ]
    assert [reply.status for reply in executed] == [202, 202]
    assert [service.finish(reply)["state"] for reply in executed] == ["SUCCEEDED"] * 2


@pytest.mark.parametrize("value", ["", "a b", '"open', "a" * 256])
def test_a_missing_or_malformed_key_is_a_400_without_effect(service, value: str) -> None:
    user = service.user(100)
    investment_id = service.investment(user, 5)
    reply = service.execute(user, investment_id, headers={"Idempotency-Key": value})
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert service.state(investment_id) == "PENDING"


@pytest.mark.parametrize("one_key", [True, False])
def test_twenty_clients_execute_one_investment(service, partner, one_key: bool) -> None:
    user = service.user(1_000)
    investment_id, key = service.investment(user, 77), str(uuid4())

    def execute(number: int) -> object:
        own_key = key if one_key else f"{key}-{number}"
        return service.execute(user, investment_id, key=own_key, api=number)

    with ThreadPoolExecutor(20) as clients:
        replies = list(clients.map(execute, range(20)))
    accepted = [reply for reply in replies if reply.status == 202]
    first = [reply for reply in accepted if not reply.replayed]
    assert len(first) == 1
    assert {reply.content for reply in accepted} == {first[0].content}
    others = Counter(r.document["code"] for r in replies if r.status != 202)
    allowed = {"request-in-progress"} if one_key else {"already-accepted"}
    assert set(others) <= allowed
    service.finish(first[0])
    assert service.balance(user) == 923
    assert len(partner.executed(user.user_id)) == 1


def test_four_investments_compete_for_the_money_of_one(service) -> None:
    user = service.user(1_000)
    investments = [service.investment(user, 600) for _ in range(4)]
    with ThreadPoolExecutor(4) as clients:
        replies = list(clients.map(lambda one: service.execute(user, one), investments))
    assert Counter(reply.status for reply in replies) == {202: 1, 422: 3}
    service.finish(next(reply for reply in replies if reply.status == 202))
    assert service.balance(user) == 400
