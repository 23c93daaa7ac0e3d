"""Feature flags over HTTP: who may do what, when a flip is in force, and what it never strands."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.service.rollout import (
    DIVIDENDS,
    EXECUTION,
    EXTERNAL,
    MASTER,
    PREFIX,
    bucket,
    salt_of,
    wait_for,
)

pytestmark = pytest.mark.stack


def refused(reply) -> bool:  # noqa: ANN001
    """Whether a flag refused the request; then the same key may be sent again."""
    if reply.status != 403:
        return False
    assert reply.document["code"] == "feature-disabled"
    assert reply.document["retryable"] is True
    return True


def test_administrators_see_all_four_flags_and_nobody_else_does(service, flags) -> None:
    assert set(flags.all()) == {MASTER, EXECUTION, DIVIDENDS, EXTERNAL}
    user = service.user()
    version = flags.all()[MASTER]["version"]
    assert service.send("GET", f"{PREFIX}/flags", token=user.token).status == 403
    reply = flags.put(MASTER, enabled=False, pct=0, version=version, token=user.token)
    assert reply.status == 403
    assert flags.all()[MASTER]["version"] == version


def test_a_change_needs_the_version_that_was_seen_and_is_audited(service, flags, database) -> None:
    seen, key = flags.all()[DIVIDENDS], str(uuid4())
    first = flags.put(DIVIDENDS, enabled=True, pct=50, version=seen["version"], key=key)
    assert first.status == 200
    assert first.document["version"] == seen["version"] + 1
    again = flags.put(DIVIDENDS, enabled=True, pct=50, version=seen["version"], key=key)
    assert again.replayed
    assert again.content == first.content
    late = flags.put(DIVIDENDS, enabled=False, pct=0, version=seen["version"])
    assert (late.status, late.document["code"]) == (409, "version-conflict")
    assert flags.all()[DIVIDENDS]["pct"] == 50
    row = database.execute(
        "SELECT u.role, reason, before, after FROM flag_audits JOIN users u ON u.id = actor_id "
        "WHERE key = %s ORDER BY flag_audits.id DESC LIMIT 1",
        [DIVIDENDS],
    ).fetchone()
    before = {"enabled": True, "pct": 100, "version": seen["version"]}
    after = {"enabled": True, "pct": 50, "version": seen["version"] + 1}
    assert row == ("admin", "test of flags", before, after)


@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        ("unknown_flag", {"enabled": True, "pct": 1, "version": 1}, 404),
        (MASTER, {"enabled": True, "pct": 101, "version": 1}, 422),
        (MASTER, {"enabled": True, "pct": -1, "version": 1}, 422),
        (MASTER, {"enabled": "yes", "pct": 1, "version": 1}, 422),
        (MASTER, {"enabled": True, "pct": 1}, 422),
        (MASTER, {"enabled": True, "pct": 1, "version": 1, "reason": "a\u0000b"}, 422),
    ],
)
def test_wrong_changes_are_refused(service, key: str, body: dict, status: int) -> None:
    assert service.send("PUT", f"{PREFIX}/flags/{key}", body).status == status


def test_a_change_without_a_key_is_refused(service) -> None:
    headers = {"Idempotency-Key": ""}
    body = {"enabled": False, "pct": 0, "version": 1}
    reply = service.send("PUT", f"{PREFIX}/flags/{MASTER}", body, headers=headers)
    assert (reply.status, reply.document["code"]) == (400, "idempotency-key-missing")


@pytest.mark.parametrize(
    ("key", "creates", "executes"),
    [
        (MASTER, False, False),
        (EXECUTION, True, False),
        (EXTERNAL, True, False),
        (DIVIDENDS, True, True),
    ],
)
def test_each_flag_stops_what_it_names_at_once_in_both_processes(
    service, flags, key: str, creates: bool, executes: bool
) -> None:
    user = service.user(funds_minor=2000)
    investments = [service.investment(user, 1000) for _ in range(2)]
    waiting = service.investment(user, 1000)
    for setting in ({"enabled": False, "pct": 100}, {"enabled": True, "pct": 0}):
        flags.set(key, **setting)
        for api in (0, 1):
            if not creates:
                assert refused(service.create(user, 1000, api=api))
            if not executes:
                assert refused(service.execute(user, investments[api], api=api))
    if creates:
        assert service.create(user, 1000).status == 201
    if executes:
        assert service.execute(user, investments[0]).status == 202
    # Never gated: reads, deposits, cancellations.
    assert service.state(waiting) == "PENDING"
    assert service.deposit(user, 1).status == 202
    assert service.cancel(user, waiting).status == 200
    flags.set(key)
    if not executes:
        assert service.finish(service.execute(user, investments[0]))["state"] == "SUCCEEDED"


def test_a_replay_answers_although_the_flag_is_off(service, flags) -> None:
    user, key = service.user(), str(uuid4())
    first = service.create(user, 1000, key=key)
    assert first.status == 201
    flags.set(MASTER, enabled=False)
    again = service.create(user, 1000, key=key)
    assert (again.replayed, again.content) == (True, first.content)
    # A refusal is not kept: the same key has its effect when the flag is on again.
    other = str(uuid4())
    assert refused(service.create(user, 1000, key=other))
    flags.set(MASTER)
    reply = service.create(user, 1000, key=other)
    assert (reply.status, reply.replayed) == (201, False)


def test_a_share_is_on_for_the_same_users_everywhere(service, flags, database) -> None:
    salt = salt_of(database, MASTER)
    flags.set(MASTER, pct=50)
    users = [service.user() for _ in range(12)]
    for user in users:
        expected = bucket(MASTER, salt, UUID(user.user_id)) < 5000
        for api in (0, 1):
            assert refused(service.create(user, 1000, api=api)) is not expected


def test_what_is_queued_when_the_switch_falls_is_given_back(
    service, flags, stack, partner
) -> None:
    user = service.user(funds_minor=1000)
    investment = service.investment(user, 1000)
    row = ["SELECT 1 FROM investments WHERE id = %s FOR UPDATE", [investment]]
    with (
        psycopg.connect(stack.postgres_dsn) as first,
        psycopg.connect(stack.postgres_dsn) as second,
        psycopg.connect(stack.postgres_dsn, autocommit=True) as observer,
        ThreadPoolExecutor() as pool,
    ):

        def waiting(count: int) -> bool:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND query LIKE '%FROM investments%'"
            )
            return observer.execute(query).fetchone()[0] == count

        # In the order of the queue: the acceptance, then we, then the worker: it meets the switch
        # after the flip.
        first.execute(*row)
        accepted = pool.submit(service.execute, user, investment)
        wait_for(lambda: waiting(1), "the acceptance waits")
        ours = pool.submit(second.execute, *row)
        wait_for(lambda: waiting(2), "we wait")
        first.commit()
        ours.result(10)
        reply = accepted.result(10)
        flags.set(EXTERNAL, enabled=False)
        assert service.state(investment) == "QUEUED"
        second.commit()
    job = service.finish(reply)
    assert (job["state"], job["reason"]) == ("FAILED", "disabled")
    assert service.state(investment) == "CANCELLED"
    assert service.balance(user) == 1000
    assert partner.executed(user.user_id) == []


def test_while_the_flags_cannot_be_read_no_effect_is_made(service, flags, database) -> None:
    user = service.user(funds_minor=1000)
    investment, key = service.investment(user, 1000), str(uuid4())
    with ThreadPoolExecutor() as pool, database.transaction():
        database.execute("LOCK TABLE feature_flags IN ACCESS EXCLUSIVE MODE")
        executed = pool.submit(service.execute, user, investment, key=key, api=0)
        page = pool.submit(service.send, "GET", "/admin/login", api=0)
        assert page.result(10).status == 200
        reply = executed.result(10)
        assert (reply.status, reply.document["retryable"]) == (503, True)
    assert service.state(investment) == "PENDING"
    assert service.balance(user) == 1000
    again = service.execute(user, investment, key=key)
    assert (again.replayed, service.finish(again)["state"]) == (False, "SUCCEEDED")
