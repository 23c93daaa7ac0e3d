"""Workloads are generators: fed with outcomes by hand, they need no service."""

import pytest

from harness.core.cast import Cast
from harness.core.errors import UsageError
from harness.core.history import Attempt, Completed, Operation, Outcome, Reading
from load.workload import JourneyStopped, workload_named, workloads

CAST = Cast(seed=5, scenario="s", slot=2)


def answer(operation: Operation, outcome: Outcome = Outcome.OK, **learned: str) -> Completed:
    status = {Outcome.OK: 200, Outcome.FAIL: 422, Outcome.INFO: 503}[outcome]
    attempt = Attempt(operation.id, 0, "one", 1, 2, status, outcome)
    return Completed(operation, outcome, (attempt,), Reading(outcome, learned=learned))


def play(journey, *answers: dict[str, str]) -> tuple[list[Operation], dict[str, str]]:
    operations = [next(journey)]
    try:
        for learned in answers:
            operations.append(journey.send(answer(operations[-1], **learned)))
    except StopIteration as end:
        return operations, end.value
    raise AssertionError(f"more operations than answers: {operations[-1].kind}")


def test_open_investments() -> None:
    journey = workload_named("open-investments")(CAST, 4, {}, {})
    user, fund, wait, create = play(journey, {}, {"job": "j"}, {}, {"investment": "i"})[0]
    assert [o.kind for o in (user, fund, wait, create)] == [
        "create-user", "fund", "await-job", "create-investment",
    ]  # fmt: skip
    assert {o.user for o in (user, fund, wait, create)} == {CAST.user(4)}
    assert user.secret == fund.secret == CAST.admin_token()
    assert wait.secret == create.secret == user.user_secret == CAST.user_token(4)
    assert fund.amount_minor == CAST.deposit_minor(4)
    assert create.amount_minor == CAST.amount_minor(4)
    assert wait.params == {"job": "j"}
    assert wait.key == ""


def test_execute_investments_differs_from_what_came_before() -> None:
    opened, known = play(
        workload_named("open-investments")(CAST, 4, {}, {}),
        {}, {"job": "j"}, {}, {"investment": "i"},
    )  # fmt: skip
    journey = workload_named("execute-investments")(CAST, 4, {4: known}, {})
    executed, learned = play(journey, {"job": "k"}, {})
    assert executed[0].params == {"investment": "i"}
    assert executed[1].params == {"job": "k"}
    assert learned == {"job": "k"}
    ids = [operation.id for operation in opened + executed]
    assert len(set(ids)) == len(ids)
    assert len({operation.trace for operation in opened + executed}) == len(ids)


def test_every_tenth_execution_is_repeated_with_the_old_key() -> None:
    known = {10: {"investment": "i"}}
    journey = workload_named("execute-investments")(CAST, 10, known, {})
    (first, _, again), learned = play(journey, {"job": "k"}, {}, {"job": "k"})
    assert (again.kind, again.key, again.params) == (first.kind, first.key, first.params)
    assert again.id != first.id
    assert again.trace != first.trace
    assert learned == {"job": "k"}


def test_execute_one_investment_by_rounds() -> None:
    known = {number: {"investment": f"i{number}"} for number in range(4)}
    function = workload_named("execute-one-investment")
    calls = [next(function(CAST, number, known, {"clients": "3"})) for number in range(12)]
    for round_number in range(4):
        part = calls[3 * round_number : 3 * round_number + 3]
        assert {o.user for o in part} == {CAST.user(round_number)}
        assert {o.amount_minor for o in part} == {CAST.amount_minor(round_number)}
        assert {o.params["investment"] for o in part} == {f"i{round_number}"}
        assert len({o.key for o in part}) == (1 if round_number % 2 == 0 else 3)
    assert len({o.trace for o in calls}) == len({o.id for o in calls}) == 12
    assert len({o.key for o in calls}) == 1 + 3 + 1 + 3


def test_a_journey_stops_with_the_reason() -> None:
    journey = workload_named("open-investments")(CAST, 4, {}, {})
    user = next(journey)
    with pytest.raises(JourneyStopped, match="create-user ended as fail .* status 422"):
        journey.send(answer(user, Outcome.FAIL))


def test_a_reply_without_the_id_stops_the_journey() -> None:
    journey = workload_named("open-investments")(CAST, 4, {}, {})
    fund = journey.send(answer(next(journey)))
    with pytest.raises(JourneyStopped, match="the reply to fund names no job"):
        journey.send(answer(fund))


def test_unknown_names_are_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean “open-investments”"):
        workload_named("open-investment")
    assert all(entry.summary.endswith(".") for entry in workloads)
