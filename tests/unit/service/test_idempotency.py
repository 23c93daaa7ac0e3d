"""Keys, fingerprints and stored answers."""

import pytest
from investment import idempotency
from investment.errors import Problem
from investment.idempotency import Answer

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.mark.parametrize("header", [KEY, f'"{KEY}"', "a", "a" * 255])
def test_one_key_with_or_without_quotes(header: str) -> None:
    assert idempotency.parse_key([header]) == header.strip('"')


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], "idempotency-key-missing"),
        ([""], "idempotency-key-missing"),
        ([KEY, KEY], "idempotency-key-malformed"),
        (['"'], "idempotency-key-malformed"),
        (['""'], "idempotency-key-malformed"),
        ([f'"{KEY}'], "idempotency-key-malformed"),
        ([f"{KEY}, {KEY}"], "idempotency-key-malformed"),
        (["a" * 256], "idempotency-key-malformed"),
        (["schlüssel"], "idempotency-key-malformed"),
        (["a\n"], "idempotency-key-malformed"),
    ],
)
def test_a_missing_or_malformed_key_is_a_400(values: list[str], code: str) -> None:
    with pytest.raises(Problem) as raised:
        idempotency.parse_key(values)
    assert (raised.value.code, raised.value.status) == (code, 400)


def test_the_fingerprint_ignores_the_order_of_fields_and_nothing_else() -> None:
    payload = {"amount_minor": "5", "currency": "EUR"}
    same = {"currency": "EUR", "amount_minor": "5"}
    assert idempotency.fingerprint(payload) == idempotency.fingerprint(same)
    for other in ({}, payload | {"currency": "USD"}, payload | {"instrument": "A"}):
        assert idempotency.fingerprint(payload) != idempotency.fingerprint(other)


def test_a_refusal_is_a_final_answer_in_problem_form() -> None:
    answer = Answer.refusal("already-accepted", "by another request", job_id="j")
    assert answer.status == 409
    assert '"retryable":false' in answer.body
    assert '"job_id":"j"' in answer.body
