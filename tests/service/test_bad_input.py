"""Whatever is sent, the answer is a problem document and nothing has happened."""

import copy
import json
import string
from collections.abc import Callable, Iterator
from uuid import uuid4

import jsonschema
import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from tests.service.conftest import Reply
from tests.service.problems import assert_problem
from tests.service.rollout import wait_for
from tests.service.writes import CREATE, EXECUTE, OPERATIONS, PREFIX, Ready, Writes

pytestmark = pytest.mark.stack

WITH_BODY = [o for o in OPERATIONS if not o.endswith(("/close", "/execute", "/cancel"))]
BOUNDED = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
# What processes write by themselves, without being asked.
OF_THEIR_OWN = {"canary_samples", "investment_state_logs", "job_state_logs"}

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
NASTY = st.sampled_from(
    [
        "", "0", "-5", "5.0", "1e3", "+5", " 5", "5\n", "٣", "0x10", "1" * 19, "9" * 400,
        "NaN", "EUR\n", "eur", "€", "ZZZ", "\0", "a\0b", "\ud800", "'; DROP TABLE users; --",
        5, 0, -1, 5.0, 0.1, 1e308, float("nan"), float("inf"), 10**30, True, None, [], {}, ["5"],
    ]
)  # fmt: skip
ANYTHING = NASTY | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def writes(service, database, flags) -> Writes:  # noqa: ANN001 - the flags are restored afterwards
    return Writes(service, database)


def rows(database: psycopg.Connection) -> dict[str, int]:
    tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        for (name,) in tables.fetchall()
        if name not in OF_THEIR_OWN
    }


@pytest.fixture
def nothing_happens(database) -> Callable:  # noqa: ANN001
    """Call it when all is prepared; at the test's end every table has as many rows as then."""
    before: dict[str, int] = {}
    open_jobs = "SELECT 1 FROM jobs WHERE state IN ('PENDING', 'RUNNING', 'WAITING')"

    def begin() -> None:
        wait_for(lambda: not database.execute(open_jobs).fetchall(), "the queue to be empty")
        before.update(rows(database))

    yield begin
    assert before
    assert rows(database) == before


def send_raw(writes: Writes, ready: Ready, content: bytes, **headers: str) -> Reply:
    """These very bytes."""
    sent = HTTPHeaderDict(
        {
            "Authorization": f"Bearer {ready.token}",
            "Idempotency-Key": str(uuid4()),
            "Content-Type": "application/json",
        }
        | {name.replace("_", "-"): value for name, value in headers.items()}
    )
    writes.service.sent += 1
    url = writes.service.urls[writes.service.sent % 2] + PREFIX + ready.path
    reply = writes.service.pool.request(ready.method, url, body=content, headers=sent)
    return Reply(reply.status, reply.data, reply.headers)


@pytest.fixture
def body_schema(service) -> Callable[[str], dict]:  # noqa: ANN001
    document = service.send("GET", f"{PREFIX}/openapi.json").document

    def find(operation: str) -> dict:
        method, path = operation.split(" ")
        body = document["paths"][PREFIX + path][method.lower()]["requestBody"]
        schema = copy.deepcopy(body["content"]["application/json"]["schema"])
        name = schema["$ref"].rpartition("/")[2]
        return _strict(copy.deepcopy(document["components"]["schemas"][name]))

    return find


def _strict(schema: dict) -> dict:
    """In JSON Schema `$` is the end; in Python it may be followed by a newline."""
    for word, value in list(schema.items()):
        if word == "pattern" and isinstance(value, str) and value.endswith("$"):
            schema[word] = value[:-1] + r"\Z"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                _strict(each)
    return schema


@pytest.mark.parametrize("operation", WITH_BODY)
def test_a_body_that_the_document_does_not_allow(
    writes, body_schema, nothing_happens, operation: str
) -> None:
    ready, schema = writes.ready(operation), body_schema(operation)
    allowed = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.FormatChecker(["uuid"])
    )
    assert allowed.is_valid(ready.body)
    nothing_happens()

    @BOUNDED
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        body = dict(ready.body)
        name = data.draw(st.sampled_from(sorted(schema["properties"])) | ANY_TEXT)
        if data.draw(st.integers(0, 5)) == 0:
            assume(body.pop(name, None) is not None)
        else:
            body[name] = data.draw(ANYTHING)
        assume(not allowed.is_valid(body))
        reply = send_raw(writes, ready, json.dumps(body).encode())
        assert_problem(reply, "validation-failed", "malformed-request")

    attempt()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bytes_that_are_no_document(writes, nothing_happens, operation: str) -> None:
    ready = writes.ready(operation)
    good = json.dumps(ready.body if ready.body is not None else {}).encode()
    nothing_happens()

    @BOUNDED
    @given(st.one_of(st.binary(min_size=1, max_size=60), st.integers(1, len(good) - 1)))
    def attempt(drawn: bytes | int) -> None:
        content = good[:drawn] if isinstance(drawn, int) else drawn
        assume(content.strip(string.whitespace.encode()) not in (b"null", b"{}"))
        reply = send_raw(writes, ready, content)
        assert_problem(reply, "malformed-request", "validation-failed")

    attempt()
    for content in (
        b"[" * 50_000, b"\xef\xbb\xbf" + good, good.decode().encode("utf-16"),
        b'{"\\ud800":1}', b"[]", b'"text"', b"NaN",
        good + good, b"{" + b'"x":1,' * 9_000 + b'"y":1}',
    ):  # fmt: skip
        assert_problem(send_raw(writes, ready, content), "malformed-request", "validation-failed")
    assert_problem(send_raw(writes, ready, b" " * 65_537 + good), "payload-too-large")
    assert_problem(send_raw(writes, ready, good, X_More="m" * 17_000), "headers-too-large")
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/json-seq"):
        reply = send_raw(writes, ready, good, Content_Type=kind)
        assert_problem(reply, "unsupported-media-type")


@pytest.mark.parametrize("operation", WITH_BODY)
def test_a_name_that_occurs_twice(writes, nothing_happens, operation: str) -> None:
    ready = writes.ready(operation)
    nothing_happens()
    content = json.dumps(ready.body)
    for name, value in ready.body.items():
        twice = f"{content[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}"
        assert json.loads(twice) == ready.body
        assert_problem(send_raw(writes, ready, twice.encode()), "malformed-request")


def test_a_body_in_pieces_is_bounded_as_well(writes, nothing_happens) -> None:
    ready = writes.ready(CREATE)
    nothing_happens()

    def pieces() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 8_192

    url = writes.service.urls[0] + PREFIX + ready.path
    headers = {"Authorization": f"Bearer {ready.token}", "Content-Type": "application/json"}
    reply = writes.service.pool.request("POST", url, body=pieces(), headers=headers, chunked=True)
    assert_problem(Reply(reply.status, reply.data, reply.headers), "payload-too-large")


@pytest.mark.parametrize("operation", [CREATE, EXECUTE])
def test_unknown_fields_and_query_parameters(writes, nothing_happens, operation: str) -> None:
    ready = writes.ready(operation)
    nothing_happens()
    body = json.dumps((ready.body or {}) | {"amount": 5}).encode()
    assert_problem(send_raw(writes, ready, body), "validation-failed")


@pytest.mark.parametrize(
    "path", ["/flags/%00", "/flags/" + "k" * 501, "/jobs/%00", "/jobs/%ED%A0%80", "/flags/%FF"]
)
def test_addresses_that_cannot_be(writes, nothing_happens, path: str) -> None:
    body = writes.ready("PUT /flags/{key}").body
    nothing_happens()
    codes = ("not-found", "validation-failed", "method-not-allowed")
    assert_problem(writes.service.send("PUT", PREFIX + path, body), *codes)
    assert_problem(writes.service.send("GET", PREFIX + path), *codes)


def test_another_currency_moves_nothing(writes, database) -> None:
    ready = writes.ready(CREATE)
    for currency in ("USD", "JPY", "BHD"):
        body = json.dumps(ready.body | {"currency": currency}).encode()
        assert_problem(send_raw(writes, ready, body), "currency-mismatch")
    assert writes.effects(ready) == 0
    assert writes.events(CREATE) == 0
