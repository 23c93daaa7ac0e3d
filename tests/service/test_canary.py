"""Canaries over HTTP: a share that grows while all is well, and falls to 0 when it is not."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import urllib3

from tests.docs.markdown import blocks
from tests.service.rollout import (
    DIVIDENDS,
    EXECUTION,
    MASTER,
    PREFIX,
    users_of_first_step,
    wait_for,
)

pytestmark = [pytest.mark.stack, pytest.mark.long]

SAMPLES = 10  # INVESTMENT_CANARY_MIN_SAMPLES of target.toml


class Canary:
    """The canary of one flag, and users of its first step."""

    def __init__(self, service, flags, database, flag: str) -> None:  # noqa: ANN001
        self.service, self.flags, self.database, self.flag = service, flags, database, flag

    def order(self, action: str, **options: object):  # noqa: ANN201
        body = {"action": action, "reason": "test of canaries"}
        return self.service.send("PUT", f"{PREFIX}/canaries/{self.flag}", body, **options)

    def status(self) -> dict:
        found = {each["flag"]: each for each in self.service.get("/canaries")["canaries"]}
        return found[self.flag]

    def users(self, count: int, *, funds_minor: int = 0) -> list:
        ids = users_of_first_step(self.database, [self.flag], count)
        return [self.service.user(funds_minor, user_id=str(user_id)) for user_id in ids]

    def wait_for(self, state: str, pct: int) -> dict:
        def arrived() -> bool:
            status = self.status()
            return (status["state"], status["pct"]) == (state, pct)

        wait_for(arrived, f"{self.flag} {state} at {pct} %")
        assert self.flags.all()[self.flag]["pct"] == pct
        return self.status()

    def audits(self) -> list[tuple]:
        query = (
            "SELECT actor_id IS NULL, after['pct']::int, reason FROM flag_audits "
            "WHERE key = %s ORDER BY id DESC LIMIT 5"
        )
        return self.database.execute(query, [self.flag]).fetchall()


@pytest.fixture
def canary_of(service, flags, database) -> Iterator[type]:  # noqa: ANN001
    """Makes a canary of a flag that is off; the flags are restored afterwards, which stops it."""

    def make(flag: str) -> Canary:
        flags.set(flag, enabled=False)
        return Canary(service, flags, database, flag)

    return make


def create(service, users: list) -> list[int]:  # noqa: ANN001
    """One investment of each user at once; the statuses."""
    with ThreadPoolExecutor(len(users)) as pool:
        return [r.status for r in pool.map(lambda user: service.create(user, 1000), users)]


def test_a_healthy_canary_grows_step_by_step_until_everybody_has_it(
    service, database, canary_of
) -> None:
    canary = canary_of(MASTER)
    users = canary.users(SAMPLES)
    assert canary.order("start").status == 200
    assert canary.order("start").document["code"] == "canary-conflict"
    for now, after in itertools.pairwise((1, 5, 25)):
        canary.wait_for("RUNNING", now)
        assert set(create(service, users)) == {201}
        canary.wait_for("RUNNING", after)
    controller, pct, reason = canary.audits()[0]
    assert (controller, pct) == (True, 25)
    assert f"0 of {SAMPLES} requests failed" in reason
    # Fewer samples than the minimum: it waits, though the step is long over.
    assert set(create(service, users[:-1])) == {201}
    wait_for(lambda: canary.status()["figures"]["requests"] == SAMPLES - 1, "samples arrive")
    for table, key in (("canaries", "flag"), ("feature_flags", "key")):
        database.execute(f"UPDATE {table} SET pct = 100 WHERE {key} = %s", [MASTER])
    assert canary.status()["state"] == "RUNNING"
    assert set(create(service, users[-1:])) == {201}
    canary.wait_for("COMPLETED", 100)
    assert database.execute("SELECT count(*) FROM canary_samples").fetchone() == (0,)


def test_errors_of_the_cohort_roll_back_until_somebody_starts_anew(
    service, database, canary_of
) -> None:
    canary = canary_of(MASTER)
    users = canary.users(SAMPLES)
    assert canary.order("start").status == 200
    with database.transaction():
        database.execute("LOCK TABLE investments IN EXCLUSIVE MODE")
        assert set(create(service, users)) == {503}
    status = canary.wait_for("ROLLED_BACK", 0)
    assert f"{SAMPLES} of {SAMPLES} requests failed" in status["reason"]
    controller, pct, reason = canary.audits()[0]
    assert (controller, pct) == (True, 0)
    assert status["reason"] in reason
    assert set(create(service, users)) == {403}
    # Having seen it, one may end the state, and the alert, without another start.
    assert canary.order("stop").status == 200
    assert canary.order("stop").document["code"] == "canary-conflict"
    assert canary.order("start").status == 200
    assert set(create(service, users)) == {201}
    assert canary.order("stop").status == 200
    assert canary.wait_for("STOPPED", 1)["figures"] is None


def test_executions_that_fail_roll_back_and_the_money_is_given_back(
    service, partner, canary_of
) -> None:
    canary = canary_of(EXECUTION)
    amounts = range(31_337, 31_337 + SAMPLES)
    users = canary.users(SAMPLES, funds_minor=50_000)
    investments = [service.investment(*each) for each in zip(users, amounts, strict=True)]
    script = json.dumps({"refuse_amounts": dict.fromkeys(amounts, "no such fund")})
    assert urllib3.request("PUT", f"{partner.url}/script", body=script).status == 200
    assert canary.order("start").status == 200
    accepted = [service.execute(u, i) for u, i in zip(users, investments, strict=True)]
    assert {service.finish(reply)["state"] for reply in accepted} == {"FAILED"}
    status = canary.wait_for("ROLLED_BACK", 0)
    assert f"0 of {SAMPLES} jobs succeeded" in status["reason"]
    assert [service.balance(user) for user in users] == [50_000] * SAMPLES


@pytest.mark.parametrize("pct", [2, 100])
def test_a_start_takes_a_live_feature_from_nobody(flags, canary_of, pct: int) -> None:
    canary = canary_of(MASTER)
    flags.set(MASTER, pct=pct)
    before = flags.all()
    refusal = canary.order("start")
    assert (refusal.status, refusal.document["code"]) == (409, "canary-conflict")
    assert f"on for {pct} %" in refusal.document["detail"]
    assert flags.all() == before


def test_a_flag_set_by_hand_ends_a_rollback(flags, database, canary_of) -> None:
    canary = canary_of(MASTER)
    assert canary.order("start").status == 200
    database.execute("UPDATE canaries SET state = 'ROLLED_BACK' WHERE flag = %s", [MASTER])
    flags.set(MASTER)
    canary.wait_for("STOPPED", 100)


def test_setting_the_flag_by_hand_stops_its_canary(service, flags, canary_of) -> None:
    canary = canary_of(MASTER)
    assert canary.order("start").status == 200
    flags.set(MASTER, enabled=False, pct=40)
    status = canary.wait_for("STOPPED", 40)
    assert status["reason"] == "the flag was set by hand"


def test_without_a_canary_nothing_is_sampled(service, database) -> None:
    user = service.user()
    last = database.execute("SELECT coalesce(max(id), 0) FROM canary_samples").fetchone()
    assert service.create(user, 1000).status == 201
    assert database.execute("SELECT coalesce(max(id), 0) FROM canary_samples").fetchone() == last


@pytest.mark.parametrize(
    ("flag", "action", "status"),
    [("unknown_flag", "start", 404), ("unknown_flag", "stop", 404), (MASTER, "jump", 422)],
)
def test_wrong_orders_are_refused(service, flag: str, action: str, status: int) -> None:
    reply = service.send("PUT", f"{PREFIX}/canaries/{flag}", {"action": action})
    assert reply.status == status


def test_only_administrators_order_and_look(service, canary_of) -> None:
    user = service.user()
    assert canary_of(MASTER).order("start", token=user.token).status == 403
    assert service.send("GET", f"{PREFIX}/canaries", token=user.token).status == 403


def test_an_order_sent_again_is_one_order(canary_of) -> None:
    canary, key = canary_of(MASTER), str(uuid4())
    first, again = (canary.order("start", key=key) for _ in range(2))
    assert (first.status, again.replayed, again.content) == (200, True, first.content)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_commands_of_the_documents_work(stack, flags) -> None:
    flags.set(EXECUTION, enabled=False)
    for name in ("flags.md", "canary.md"):
        scripts = [b.text for b in blocks() if b.document.name == name and "curl " in b.text]
        env = {
            "URL": stack.client_url("api-1"),
            "GREEN_URL": stack.client_url("api-2"),
            "TOKEN": stack.admin_token,
            "VERSION": str(flags.all()[DIVIDENDS]["version"]),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            ["bash", "-euxc", "\n".join(scripts)],
            env=env,
            text=True,
            timeout=30,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert scripts
        assert done.returncode == 0, done.stdout
    assert flags.all()[DIVIDENDS]["enabled"] is False
    assert flags.all()[EXECUTION]["pct"] == 1
