"""The partner's events: proven by a signature, recorded once, and never taken for evidence."""

import contextlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import urllib3

from fault_injection.faults.partner_reply_lost import PartnerReplyLost

pytestmark = pytest.mark.stack

PATH = "/api/v1/investment/partner-events"
UNSETTLED = "SELECT status FROM partner_orders WHERE investment_id = %s"


def wait_for(condition: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def event_about(client_order_id: object, *, kind: str = "order.executed") -> dict[str, str]:
    return {"event_id": str(uuid4()), "kind": kind, "client_order_id": str(client_order_id)}


@pytest.fixture
def tell(stack, service):  # noqa: ANN001, ANN201
    """Sends an event as the partner would; `at` and `secret` make it a forgery."""
    known = stack.stack.secrets["PARTNER_CALLBACK_SECRET"]

    def send(event: object, *, at: float | None = None, secret: str = known, **options: object):  # noqa: ANN202
        signed_at = str(int(time.time() if at is None else at))
        content = event if isinstance(event, bytes) else json.dumps(event).encode()
        mac = hmac.digest(secret.encode(), f"{signed_at}.".encode() + content, "sha256").hex()
        headers = {"X-Partner-Signature": f"t={signed_at},v1={mac}"} | options.pop("headers", {})
        service.sent += 1
        url = service.urls[service.sent % 2] + PATH
        headers |= {"Content-Type": "application/json"}
        return service.pool.request("POST", url, body=options.pop("sent", content), headers=headers)

    return send


def recorded(database, event: dict[str, str]) -> int:  # noqa: ANN001
    query = "SELECT count(*) FROM partner_events WHERE event_id = %s"
    return database.execute(query, [event["event_id"]]).fetchone()[0]


def test_only_the_partner_is_believed_and_nothing_else_is_kept(tell, database) -> None:  # noqa: ANN001
    event = event_about(uuid4())
    forged = [
        tell(event, headers={"X-Partner-Signature": ""}),
        tell(event, headers={"X-Partner-Signature": "t=1,v1=00"}),
        tell(event, secret="not the partner's secret"),
        tell(event, at=time.time() - 310),
        tell(event, at=time.time() + 310),
        tell(event, sent=json.dumps(event | {"kind": "order.rejected"}).encode()),
        tell(b"{not even json", secret="not the partner's secret"),
    ]
    codes = {json.loads(reply.data).get("code") for reply in forged}
    assert {reply.status for reply in forged} <= {400, 401}
    assert [reply.status for reply in forged][:-1] == [401] * 6
    assert codes <= {"unauthenticated", "malformed-request"}
    assert recorded(database, event) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": "1"},
        {"event_id": ""},
        {"event_id": "x" * 101},
        {"event_id": "a\x00b"},
        {"event_id": 5},
        {"kind": "order.refunded"},
        {"client_order_id": "P-1"},
        {"client_order_id": None},
    ],
)
def test_an_event_that_is_not_understood_is_refused(tell, database, change: dict) -> None:  # noqa: ANN001
    event = event_about(uuid4()) | change
    reply = tell(event)
    assert (reply.status, json.loads(reply.data)["code"]) == (422, "validation-failed")
    query = "SELECT count(*) FROM partner_events WHERE client_order_id::text = %s"
    assert database.execute(query, [str(event["client_order_id"])]).fetchone()[0] == 0


def test_a_repeated_event_is_recorded_once_though_nobody_knows_its_order(tell, database) -> None:  # noqa: ANN001
    event = event_about(uuid4())
    replies = [tell(event) for _ in range(4)]
    assert [(reply.status, json.loads(reply.data)) for reply in replies] == [
        (202, {"event_id": event["event_id"]})
    ] * 4
    assert recorded(database, event) == 1


def test_an_event_about_a_settled_order_changes_nothing(service, tell, database) -> None:  # noqa: ANN001
    user = service.user(100)
    investment_id = service.investment(user, 60)
    service.finish(service.execute(user, investment_id))
    query = "SELECT *, ctid FROM partner_orders WHERE investment_id = %s"
    before = database.execute(query, [investment_id]).fetchone()
    assert tell(event_about(before[1], kind="order.rejected")).status == 202
    assert database.execute(query, [investment_id]).fetchone() == before
    assert service.state(investment_id) == "EXECUTED"
    assert service.balance(user) == 40


@contextlib.contextmanager
def unknown_order(service, database, faults, user) -> Iterator[str]:  # noqa: ANN001
    """An order that the partner executed, of which no worker will ask what became of it."""
    investment_id, trace = service.investment(user, 70), secrets.token_hex(16)
    faults.inject(PartnerReplyLost(link="worker-partner", trace=trace))
    traceparent = f"00-{trace}-{secrets.token_hex(8)}-01"
    accepted = service.execute(user, investment_id, headers={"traceparent": traceparent})
    # By less than the longest delay that the service sets: more is of a clock that went back.
    put_off = "UPDATE jobs SET next_run_at = now() + interval '9 s' WHERE id = %s AND state = %s"
    job = [accepted.document["job_id"], "WAITING"]
    wait_for(lambda: database.execute(put_off, job).rowcount, seconds=10)
    yield investment_id
    assert service.finish(accepted)["state"] == "SUCCEEDED"


def test_an_event_has_the_partner_asked_at_once_and_its_answer_counts(
    service,  # noqa: ANN001
    database,  # noqa: ANN001
    faults,  # noqa: ANN001
    partner,  # noqa: ANN001
    tell,  # noqa: ANN001
) -> None:
    user = service.user(100)
    with unknown_order(service, database, faults, user) as investment_id:
        [client_order_id] = database.execute(
            "SELECT client_order_id FROM partner_orders WHERE investment_id = %s AND status = %s",
            [investment_id, "UNKNOWN"],
        ).fetchone()
        # What it says is wrong: the order was executed.
        assert tell(event_about(client_order_id, kind="order.rejected")).status == 202
        # Without the event the order would be asked about when nobody had done so for 9 s.
        wait_for(
            lambda: database.execute(UNSETTLED, [investment_id]).fetchone() == ("CONFIRMED",),
            seconds=4,
        )
    assert service.state(investment_id) == "EXECUTED"
    assert service.balance(user) == 30
    assert len(partner.executed(user.user_id)) == 1


@pytest.fixture
def told_by_the_partner(stack, partner) -> Iterator[None]:  # noqa: ANN001
    def script(url: str) -> None:
        body = json.dumps({"callback_url": url})
        assert urllib3.request("PUT", f"{partner.url}/script", body=body).status == 200

    script(stack.client_url("api-1") + PATH)
    yield
    script("")


def test_the_simulated_partner_tells_by_itself(service, database, told_by_the_partner) -> None:  # noqa: ANN001
    user = service.user(100)
    investment_id = service.investment(user, 80)
    service.finish(service.execute(user, investment_id))
    query = """SELECT e.kind FROM partner_events e JOIN partner_orders o USING (client_order_id)
        WHERE o.investment_id = %s"""
    wait_for(lambda: database.execute(query, [investment_id]).fetchall(), seconds=5)
    assert database.execute(query, [investment_id]).fetchall() == [("order.executed",)]
    assert service.balance(user) == 20


def test_orders_are_only_for_who_brings_the_key(partner) -> None:  # noqa: ANN001
    order = {
        "client_order_id": str(uuid4()), "account": str(uuid4()), "instrument": "FUND-A",
        "amount_minor": "5", "currency": "EUR",
    }  # fmt: skip
    for authorization in ({}, {"Authorization": "Bearer guessed"}):
        headers = {"Idempotency-Key": order["client_order_id"], **authorization}
        url = f"{partner.url}/orders"
        posted = urllib3.request("POST", url, body=json.dumps(order), headers=headers)
        asked = urllib3.request("GET", url, fields={"client_order_id": "x"}, headers=headers)
        assert (posted.status, asked.status) == (401, 401)
    assert partner.executed(order["account"]) == []
    lines = urllib3.request("GET", f"{partner.url}/journal").data.splitlines()
    assert [json.loads(line)["event"] for line in lines].count("unauthorized") >= 4


def test_a_part_is_settled_as_a_part_and_the_rest_comes_back(service, database, partner) -> None:  # noqa: ANN001
    user = service.user(1_000)
    fills = {"777": {"amount_minor": "500", "fee_minor": "7"}}
    script = json.dumps({"fills": fills})
    assert urllib3.request("PUT", f"{partner.url}/script", body=script).status == 200
    investment_id = service.investment(user, 777)
    assert service.finish(service.execute(user, investment_id))["state"] == "SUCCEEDED"
    assert service.get(f"/investments/{investment_id}")["executed_minor"] == "500"
    assert service.balance(user) == 1_000 - 507
    kinds = "SELECT kind FROM ledger_transactions WHERE subject_id = %s ORDER BY id"
    found = [row[0] for row in database.execute(kinds, [investment_id])]
    assert found == ["hold", "capture", "residual"]
    [order] = partner.executed(user.user_id)
    assert (order["amount_minor"], order["fee_minor"]) == ("500", "7")
