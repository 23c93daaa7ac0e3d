"""Nobody reaches what is not theirs; every error is a problem document."""

from uuid import uuid4

import pytest
import urllib3

from tests.service.problems import assert_problem

pytestmark = pytest.mark.stack

PREFIX = "/api/v1/investment"


def test_users_and_deposits_are_for_administrators(service) -> None:
    user = service.user()
    body = {"amount_minor": "5", "currency": "EUR", "reference": str(uuid4())}
    deposits = f"{PREFIX}/wallets/{user.user_id}/deposits"
    assert service.send("POST", deposits, body, token=user.token).status == 403
    body = {"currency": "EUR", "token": "x" * 32}
    reply = service.send("POST", f"{PREFIX}/users", body, token=user.token)
    assert reply.status == 403


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 5},
        {"amount_minor": "5.0"},
        {"amount_minor": "0"},
        {"amount_minor": "-5"},
        {"amount_minor": "1" * 19},
        {"amount_minor": "٣"},
        {"currency": "XXX"},
        {"currency": "eur"},
        {"instrument": ""},
        {"instrument": "A" * 33},
        {"surprise": "field"},
    ],
)
def test_a_bad_body_is_refused(service, change: dict) -> None:
    user = service.user()
    body = {"amount_minor": "5", "currency": "EUR", "instrument": "FUND-A"} | change
    reply = service.send("POST", f"{PREFIX}/investments", body, token=user.token)
    assert reply.status == 422
    assert_problem(reply)


@pytest.mark.parametrize("change", [{"token": None}, {"token": "x" * 31}, {"token": "ü" * 32}])
def test_a_user_needs_a_token_of_high_entropy(service, change: dict) -> None:
    reply = service.send("POST", f"{PREFIX}/users", {"currency": "EUR"} | change)
    assert reply.status == 422
    assert_problem(reply)


def test_what_is_not_there_is_a_problem_too(service) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", f"{PREFIX}/jobs/{uuid4()}", 404),
        ("GET", f"{PREFIX}/jobs/not-a-uuid", 422),
        ("DELETE", f"{PREFIX}/investments", 405),
        ("GET", "/api/v2/investment/jobs", 404),
        # No redirect, which would lead to the host that the caller named.
        ("GET", f"{PREFIX}/flags/", 404),
    ):
        reply = service.send(method, path)
        assert reply.status == status, path
        assert_problem(reply)


def test_no_token_no_answer(service) -> None:
    for token in ("wrong", "x" * 300):
        reply = service.send("GET", f"{PREFIX}/jobs/{uuid4()}", token=token)
        assert reply.status == 401
        assert_problem(reply)
    assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_two_tokens_are_none(stack, service) -> None:
    user = service.user()
    headers = urllib3.HTTPHeaderDict({"Authorization": f"Bearer {user.token}"})
    headers.add("Authorization", f"Bearer {service.user().token}")
    url = f"{stack.client_url('api-1')}{PREFIX}/wallets/{user.user_id}"
    assert urllib3.request("GET", url, headers=headers).status == 401


def test_answers_are_their_callers_alone(service) -> None:
    user = service.user()
    for path, status in ((f"/wallets/{user.user_id}", 200), ("/nothing", 404)):
        reply = service.send("GET", PREFIX + path, token=user.token)
        assert reply.status == status
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_both_processes_say_that_they_are_ready(service) -> None:
    for api in (0, 1):
        reply = service.send("GET", "/readyz", api=api)
        assert reply.status == 200
        assert reply.document["redis"] == {"reachable": True}
        assert service.send("GET", "/healthz", api=api).status == 200
