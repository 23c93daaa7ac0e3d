"""Records: every type goes through JSON and comes back, without secrets and without floats."""

import orjson
import pytest
from pydantic import ValidationError

from harness.core.books import PartnerEvent, Posting, Rules
from harness.core.history import Attempt, Operation, Outcome
from harness.core.journal import canonical
from harness.core.records import (
    ExchangeRecord,
    FaultPlan,
    FaultRecord,
    LoadPlan,
    OperationRecord,
    PlanRecord,
    ProofRecord,
    ResolutionRecord,
    ScenarioPlan,
    decode,
    encode,
    rows,
    table,
)
from tests.unit.oracle.builder import RULES

OPERATION = Operation(
    "o", "buy", 1, "u", "k", "t", 2**60, "EUR", {"p": "q"}, secret="hush", user_secret="hushhush"
)
ATTEMPT = Attempt("o", 0, "door-1", 1_000, 2_000, None, Outcome.INFO, "reset")
FAULT = FaultPlan("f", "cut", "a-b", "o", {"trace": "t"})
PLAN = ScenarioPlan("s", "sum", ("i",), (FAULT,), LoadPlan("w", 2, "threads", 9), "why?")
VALUES = [
    OperationRecord("s", "load", OPERATION, Outcome.INFO, "p1", (ATTEMPT,)),
    ExchangeRecord("s", "load", "t", "a-b", (1, 2), 1_500, 1_600),
    FaultRecord("s", "f", "cut", "a-b", "o", "applied", {"trace": "t"}),
    ProofRecord("s", "f", True, "log", {"line": "x"}, 1_700),
    ResolutionRecord("s", "o", Outcome.OK, "p1", "a read"),
    PlanRecord("r", 2**40, "p", "t", "embedded", "c", "2026", 5, (PLAN,), unused_faults=("x",)),
    RULES,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_from_json(value: object) -> None:
    data = orjson.loads(canonical(encode(value)))
    back = decode(type(value), data)
    hidden = {"secret": "", "user_secret": ""}
    if isinstance(value, OperationRecord):
        assert back.operation.__dict__ == {**value.operation.__dict__, **hidden}
        assert (back.attempts, back.outcome) == (value.attempts, value.outcome)
    else:
        assert back == value


def test_secrets_are_not_written() -> None:
    assert b"hush" not in canonical(encode(OPERATION))


def test_amounts_are_decimal_strings_and_times_count_from_the_start() -> None:
    data = encode(VALUES[0], start_ns=900)
    assert data["operation"]["amount_minor"] == str(2**60)
    assert (data["attempts"][0]["sent_ns"], data["attempts"][0]["done_ns"]) == (100, 1_100)
    assert decode(OperationRecord, data).operation.amount_minor == 2**60
    assert encode(ProofRecord("s", "f", False, "", {}), start_ns=900)["at_ns"] == 0


def test_unix_times_stay_what_they_are() -> None:
    event = PartnerEvent(1, 1_790_000_000_123_456_789, "executed", "c", 5, "t")
    data = orjson.loads(canonical(table([event], start_ns=900)))
    assert rows(PartnerEvent, data) == [event]


def test_tables_come_back() -> None:
    postings = [
        Posting(f"t{n}", "topup", "s", "PURSE:1", "PURSE", "D", 10**n, "EUR", n) for n in range(3)
    ]
    data = orjson.loads(canonical(table(postings)))
    assert data["columns"][0] == "transaction"
    assert len(data["rows"]) == 3
    assert rows(Posting, data) == postings
    assert rows(Posting, {"columns": [], "rows": []}) == []
    assert table([]) == {"columns": [], "rows": []}


@pytest.mark.parametrize(
    "data",
    [
        {"columns": ["transaction"], "rows": [["t"]]},
        {"columns": ["transaction", "kind"], "rows": [["t"]]},
        {"columns": "transaction", "rows": []},
    ],
)
def test_tables_that_lack_something_are_refused(data: dict[str, object]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        rows(Posting, data)


def test_missing_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        decode(ProofRecord, {"scenario": "s"})
    assert decode(Rules, {}) == Rules()
