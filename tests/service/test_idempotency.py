"""One key, one effect, one answer; one investment, one transfer, whatever the keys."""

import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"


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
        " SELECT sha256(%s), id FROM users WHERE role = 'admin'",
        (other_token.encode(),),
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
