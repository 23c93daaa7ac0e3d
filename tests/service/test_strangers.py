"""Whatever has an id answers a stranger as if it were not there; nothing is left out."""

import re
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.service.problems import assert_problem
from tests.service.writes import CREATE, FLAG, OPERATIONS, PREFIX, Writes

pytestmark = pytest.mark.stack

# The partner's events have no bearer token: their own tests try a wrong signature.
SIGNED = "POST /partner-events"


@pytest.fixture
def writes(service, database, flags) -> Writes:  # noqa: ANN001 - the flags are restored afterwards
    return Writes(service, database)


@pytest.fixture
def operations(service) -> list[str]:
    """Every operation that the API's own document names."""
    paths = service.send("GET", f"{PREFIX}/openapi.json").document["paths"]
    return [
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, methods in paths.items()
        for method in methods
        if path.startswith(f"{PREFIX}/")
    ]


def owned(writes: Writes) -> tuple[dict[str, str], list[bytes]]:
    """Ids of what the owner has, and what nobody else may be told."""
    dividend = writes.ready("POST /investments/{investment_id}/dividends")
    job = writes.service.finish(writes.send(dividend))
    ids = {
        "investment_id": dividend.path.split("/")[2],
        "job_id": job["job_id"],
        "batch_id": job["subject_id"],
        "user_id": writes.user.user_id,
        "key": FLAG,
        "flag": FLAG,
    }
    investment = writes.service.get(f"/investments/{ids['investment_id']}")
    names = ("user_id", "instrument", "job_id")
    return ids, [investment[name].encode() for name in names]


def test_a_stranger_finds_nothing_and_moves_nothing(writes, operations) -> None:
    ids, private = owned(writes)
    stranger = writes.service.user()
    tried = set()
    for operation in operations:
        if operation in (CREATE, SIGNED):
            continue
        method, path = operation.split(" ")
        ready = writes.ready(operation) if method != "GET" else None
        path = ready.path if ready else re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)
        owner = ready.token if ready else writes.admin_token
        for token in (stranger.token, "x" * 40):
            reply = writes.service.send(
                method, PREFIX + path, ready and ready.body, token=token
            )
            codes = ("forbidden", "not-found") if token == stranger.token else ("unauthenticated",)
            assert_problem(reply, *codes)
            assert not [each for each in private if each in reply.content], operation
        if ready is None:
            assert writes.service.send(method, PREFIX + path, token=owner).status == 200
        else:
            assert writes.effects(ready) == 0
            assert writes.send(ready).status < 300, operation
        tried.add(operation)
    assert tried >= set(OPERATIONS) - {CREATE}
    assert any("{job_id}" in operation for operation in tried)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_owners_key_gives_a_stranger_nothing(writes, operation: str) -> None:
    ready, key = writes.ready(operation), str(uuid4())
    first = writes.send(ready, key=key)
    stranger = writes.service.user()
    for api in (0, 1):
        reply = writes.send(replace(ready, token=stranger.token), key=key, api=api)
        assert reply.content != first.content
        if operation != CREATE:
            assert_problem(reply, "forbidden", "not-found")
    # Nor is the owner's answer lost by it.
    assert writes.send(ready, key=key).content == first.content
    assert writes.effects(ready) == (1 if operation != CREATE else 2)


def test_an_administrator_sees_everything(writes, operations) -> None:
    ids, _ = owned(writes)
    for operation in operations:
        method, path = operation.split(" ")
        if method == "GET":
            path = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)
            assert writes.service.send(method, PREFIX + path).status == 200, path
