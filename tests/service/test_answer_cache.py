"""Whatever is wrong with Redis or with what it holds, PostgreSQL decides."""

import hashlib
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import redis

pytestmark = pytest.mark.stack


@pytest.fixture
def answers(stack) -> Iterator[redis.Redis]:  # noqa: ANN001
    """The service's cached answers; none at first."""
    address = stack.stack.proxies.listening()["relay-redis"]
    with redis.Redis.from_url(f"redis://{address}/1", protocol=2) as client:
        client.flushdb()
        yield client


def as_list(answers: redis.Redis, name: bytes, _value: bytes) -> None:
    answers.delete(name)
    answers.rpush(name, "a", "list")


def set_to(change: Callable[[bytes], bytes]) -> Callable[[redis.Redis, bytes, bytes], None]:
    return lambda answers, name, value: answers.set(name, change(value))


@pytest.mark.parametrize(
    "poison",
    [
        set_to(lambda _: b"\xff\xfe\x00garbage"),
        set_to(lambda _: b""),
        set_to(lambda _: b"null"),
        set_to(lambda _: b"[1,2]"),
        set_to(lambda _: b'{"fingerprint":"x","status":"many"}'),
        set_to(lambda value: value[:-1]),
        set_to(lambda value: value[:16]),
        set_to(lambda value: value.replace(b"202", b"200")),
        as_list,
    ],
)
def test_a_poisoned_answer_is_a_miss(service, answers, poison) -> None:  # noqa: ANN001
    user, key = service.user(100), str(uuid4())
    investment_id = service.investment(user, 5)
    answers.flushdb()
    first = service.execute(user, investment_id, key=key)
    assert first.status == 202
    [name] = answers.keys()
    value = answers.get(name)
    assert b"job_id" in value
    poison(answers, name, value)
    for api in (0, 1):
        replay = service.execute(user, investment_id, key=key, api=api)
        assert replay.replayed
        assert (replay.status, replay.content) == (first.status, first.content)
        assert replay.headers["Location"] == first.headers["Location"]


def test_without_redis_a_key_is_replayed_all_the_same(stack, service, answers) -> None:  # noqa: ANN001
    user, key = service.user(100), str(uuid4())
    investment_id = service.investment(user, 5)
    links = ("api-1-redis", "api-2-redis")
    answers.flushdb()
    for link in links:
        stack.stack.proxies.add_toxic(
            link, name="cut", type="reset_peer", stream="downstream", attributes={"timeout": 0}
        )
    try:
        replies = [service.execute(user, investment_id, key=key, api=api) for api in (0, 1, 0)]
    finally:
        for link in links:
            stack.stack.proxies.remove_toxic(link, "cut")
    assert [reply.status for reply in replies] == [202] * 3
    assert [reply.replayed for reply in replies] == [False, True, True]
    assert len({reply.content for reply in replies}) == 1
    assert answers.keys() == []


def test_a_revoked_token_gets_nothing_from_the_cache(service, answers, database) -> None:  # noqa: ANN001
    user, key = service.user(100), str(uuid4())
    investment_id = service.investment(user, 5)
    answers.flushdb()
    assert service.execute(user, investment_id, key=key).status == 202
    assert service.execute(user, investment_id, key=key).replayed
    assert len(answers.keys()) == 1
    database.execute(
        "UPDATE api_tokens SET revoked_at = now() WHERE token_hash = %s",
        (hashlib.sha256(user.token.encode()).digest(),),
    )
    for api in (0, 1):
        refused = service.execute(user, investment_id, key=key, api=api)
        assert (refused.status, refused.document["code"]) == (401, "unauthenticated")
    assert len(answers.keys()) == 1
