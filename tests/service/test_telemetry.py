"""One execution is one trace, from the request to the partner, received by a real collector."""

import secrets
import subprocess
import sys
import time
from collections import Counter

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.service.conftest import PREFIX
from tests.service.scratch import SOURCE, Beside, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.long]


@pytest.fixture(scope="module")
def execution(stack, beside: Beside) -> dict[str, object]:  # noqa: ANN001
    """One execution, traced by its caller."""
    service, trace = beside.service, secrets.token_hex(16)
    user = service.user(1_000_000)
    investment_id = service.investment(user, 987_654)
    _, seen = stack.stack.proxies.units(0)
    reply = service.send(
        "POST",
        f"{PREFIX}/investments/{investment_id}/execute",
        token=user.token,
        headers={"traceparent": f"00-{trace}-{'1' * 16}-01"},
    )
    assert service.finish(reply)["state"] == "SUCCEEDED"
    return {"trace": trace, "user": user, "investment_id": investment_id, "seen": seen}


def kinds(beside: Beside, trace: str) -> Counter[tuple[str, str]]:
    """How many spans of a kind each process sent."""
    return Counter(
        (process.removesuffix("-beside"), kind_of(span))
        for process, span in beside.received.of_trace(trace)
    )


def kind_of(span: Span) -> str:
    keys = {attribute.key for attribute in span.attributes}
    if "db.query.text" in keys:
        return "sql"
    if span.kind == Span.SPAN_KIND_CLIENT:
        return "redis" if "db.system" in keys else "http call"
    return Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()


EXPECTED = {
    ("api", "server"),
    ("api", "sql"),
    ("relay", "sql"),
    ("relay", "producer"),
    ("worker", "consumer"),
    ("worker", "sql"),
    ("worker", "http call"),
}


def test_one_execution_is_one_trace(beside: Beside, execution) -> None:  # noqa: ANN001
    trace = execution["trace"]
    wait_for(lambda: kinds(beside, trace).keys() >= EXPECTED)
    found = kinds(beside, trace)
    print(dict(found))
    assert found["api", "server"] == 1
    # Claim and intent, then settlement: a worker without traced statements is not traced at all.
    assert found["worker", "sql"] >= 10
    assert found["api", "sql"] >= 5
    spans = [span for _, span in beside.received.of_trace(trace)]
    known = {span.span_id for span in spans} | {bytes.fromhex("1" * 16)}
    assert [span.name for span in spans if span.parent_span_id not in known] == []


def test_the_callers_trace_is_carried_everywhere(stack, beside: Beside, execution) -> None:  # noqa: ANN001
    trace, investment_id = execution["trace"], execution["investment_id"]
    with beside.scratch.connect() as database:
        stored = database.execute(
            """SELECT j.traceparent, m.traceparent, o.traceparent FROM jobs j
            JOIN outbox m ON m.job_id = j.id
            JOIN partner_orders o ON CAST(o.investment_id AS text) = j.subject_id
            WHERE j.subject_id = %s""",
            (investment_id,),
        ).fetchone()
    assert {value[3:35] for value in stored} == {trace}
    units, _ = stack.stack.proxies.units(execution["seen"])
    links = Counter(unit.link for unit in units if unit.trace == trace)
    for link in ("api-1-postgres", "worker-postgres", "relay-postgres", "worker-partner"):
        assert links[link] > 0, links


def test_nothing_in_a_span_is_secret(beside: Beside, execution) -> None:  # noqa: ANN001
    wait_for(lambda: kinds(beside, execution["trace"]).keys() >= EXPECTED)
    content = b"".join(beside.received.raw)
    assert b"INSERT INTO ledger_entries" in content
    settings = beside.scratch.environment
    secret = [execution["user"].token, settings["INVESTMENT_ADMIN_TOKEN"], "987654"]
    secret += [settings["INVESTMENT_VAULT_INDEX_KEY"], settings["INVESTMENT_VAULT_KEYS"]]
    for value in secret:
        assert value.encode() not in content, value[:6]


def test_polling_leaves_no_traces(beside: Beside, execution) -> None:  # noqa: ANN001
    """A trace is begun by a request or a job, never by looking whether there is one."""
    for process, span in beside.received.spans:
        if not span.parent_span_id:
            assert kind_of(span) in ("server", "consumer"), f"{process}: {span.name}"


def test_nobody_waits_for_a_receiver_that_hangs(beside: Beside) -> None:
    user = beside.service.user()
    beside.received.goes_on.clear()
    try:
        for _ in range(60):
            started = time.monotonic()
            beside.service.balance(user)
            assert time.monotonic() - started < 1
    finally:
        beside.received.goes_on.set()


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys, investment.api.app, investment.relay, investment.sweeper, investment.worker;"
        "sys.exit(any(n.startswith(('investment.telemetry', 'opentelemetry.exporter'))"
        " for n in sys.modules))"
    )
    env = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, timeout=60, check=False)
    assert done.returncode == 0
