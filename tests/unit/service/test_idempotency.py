"""Keys, fingerprints and stored answers."""

import pytest
from investment import idempotency
from investment.errors import Problem
from investment.idempotency import Answer
from investment.settings import Settings

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
    settings = Settings(database_url="postgresql+psycopg://", vault_index_key="a2V5")
    fingerprint = idempotency.fingerprint(payload, settings=settings)
    assert fingerprint == idempotency.fingerprint(same, settings=settings)
    for other in ({}, payload | {"currency": "USD"}, payload | {"instrument": "A"}):
        assert fingerprint != idempotency.fingerprint(other, settings=settings)
    # Keyed: who reads the table cannot find the fields by trying them.
    other_key = settings.model_copy(update={"vault_index_key": "b3RoZXI="})
    assert fingerprint != idempotency.fingerprint(payload, settings=other_key)


def test_a_refusal_is_a_final_answer_in_problem_form() -> None:
    answer = Answer.refusal("already-accepted", "by another request", job_id="j")
    assert answer.status == 409
    assert '"retryable":false' in answer.body
    assert '"job_id":"j"' in answer.body
