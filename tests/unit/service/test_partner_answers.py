"""What a partner's answer proves: only a clear yes or a documented no is definite."""

import json
import socket
from uuid import uuid4

import pytest
from investment.errors import Problem
from investment.jobs import backoff_ms
from investment.partner_client import (
    Executed,
    NotFound,
    NotSent,
    Order,
    PartnerClient,
    Rejected,
    Unknown,
    classify,
)
from investment.settings import Settings
from investment.tracing import traced

ORDER = Order(uuid4(), uuid4(), 1, "account", "FUND-A", 1000, "EUR")
OURS = {"client_order_id": str(ORDER.client_order_id)}
ECHO = {"instrument": "FUND-A", "currency": "EUR", "amount_minor": "1000"}
EXECUTED = OURS | ECHO | {"status": "EXECUTED", "order_id": "P-1"}


def answer(status: int, document: object) -> object:
    return classify(status, json.dumps(document).encode(), ORDER)


def test_definite_answers() -> None:
    assert answer(201, EXECUTED) == Executed("P-1", 1000, 0)
    assert answer(200, EXECUTED | {"amount_minor": "990", "fee_minor": "10"}) == Executed(
        "P-1", 990, 10
    )
    assert answer(422, OURS | {"status": "REJECTED", "reason": "closed"}) == Rejected("closed")
    assert answer(404, OURS | {"status": "NOT_FOUND"}) == NotFound()


@pytest.mark.parametrize(
    "reason", ["no\x00liquidity", "order P-1", "DE02120300000000202051", "x" * 65, "", {}, None]
)
def test_the_partners_free_text_goes_no_further(reason: object) -> None:
    refused = answer(422, OURS | {"status": "REJECTED", "reason": reason})
    assert refused == Rejected("refused by the partner")


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (500, EXECUTED),
        (408, EXECUTED),
        (409, OURS | {"status": "DUPLICATE"}),
        (429, {}),
        (404, {"detail": "a proxy's page"}),
        (422, {"detail": "a framework's validation"}),
        (200, EXECUTED | {"client_order_id": str(uuid4())}),
        (201, EXECUTED | {"order_id": "P-\ud800"}),
        (201, EXECUTED | {"amount_minor": "1001"}),
        (201, EXECUTED | {"amount_minor": "0"}),
        (201, EXECUTED | {"amount_minor": 1000}),
        (201, EXECUTED | {"amount_minor": "1000", "fee_minor": "1"}),
        (201, OURS | ECHO | {"status": "EXECUTED"}),
        (201, EXECUTED | {"currency": "USD"}),
        (201, EXECUTED | {"instrument": "FUND-B"}),
        (200, EXECUTED | {"currency": None}),
        (201, {k: v for k, v in EXECUTED.items() if k != "instrument"}),
        (201, OURS | {"status": "ACCEPTED"}),
        (200, []),
        (200, None),
    ],
)
def test_everything_else_is_unknown(status: int, document: object) -> None:
    assert isinstance(answer(status, document), Unknown)


@pytest.mark.parametrize("content", [b"", b"[" * 60_000, b"<html>", b'{"client_order_id"', b"\xff"])
def test_garbage_with_a_success_status_is_unknown(content: bytes) -> None:
    assert isinstance(classify(200, content, ORDER), Unknown)


def test_without_a_connection_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        address = {
            "database_url": "postgresql+psycopg://",
            "partner_url": f"http://127.0.0.1:{port}",
        }
        partner = PartnerClient(Settings(**address, partner_read_timeout_ms=200), lambda: "key")
        assert isinstance(partner.submit(ORDER), Unknown)  # connected: it may have been read
    assert isinstance(partner.submit(ORDER), NotSent)
    assert isinstance(partner.query(ORDER), NotSent)


def test_backoff_is_capped_jittered_and_never_zero() -> None:
    settings = Settings(database_url="postgresql+psycopg://", retry_base_ms=200, retry_cap_ms=2000)
    delays = [backoff_ms(attempt, settings=settings) for attempt in range(1, 500)]
    assert min(delays) >= 100
    assert max(delays) <= 2000
    assert len(set(delays)) > 100


def test_a_problem_survives_a_context_manager() -> None:
    """Python sets __traceback__ on exceptions: a frozen one would break in mid-air."""
    with pytest.raises(Problem) as raised, traced(None):
        raise Problem("not-found", "no such thing")
    assert raised.value.document()["status"] == 404
