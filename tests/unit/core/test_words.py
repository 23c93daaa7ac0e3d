"""Verdicts, exit codes, outcomes: small and total, so they are tested in full."""

from itertools import permutations, product

import pytest

from harness.core.errors import UsageError, unknown_name
from harness.core.exit_codes import ExitCode, strongest
from harness.core.history import Outcome, classify, overall
from harness.core.verdict import Finding, Judgement, Tally, Verdict, worst

OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO
REFUSALS = {400, 401, 403, 404, 405, 406, 410, 413, 415, 422}
FINDING = Finding("t", "k", "s", "e", "a")


@pytest.mark.parametrize("retryable", [None, True, False])
def test_every_status_has_its_outcome(retryable: bool | None) -> None:
    for status in range(100, 1000):
        outcome = classify(status, retryable=retryable)
        if 200 <= status < 300:
            assert outcome is OK
        elif status in REFUSALS or (status == 409 and retryable is False):
            assert outcome is FAIL
        else:
            assert outcome is INFO, status
    assert classify(None, retryable=retryable) is INFO


@pytest.mark.parametrize("status", [408, 409, 421, 423, 425, 429, 500, 502, 503, 504, 301])
def test_what_may_have_happened_is_not_called_failed(status: int) -> None:
    assert classify(status) is INFO


@pytest.mark.parametrize("length", range(4))
def test_an_operation_is_ok_if_one_attempt_was(length: int) -> None:
    for outcomes in product(Outcome, repeat=length):
        if OK in outcomes:
            expected = OK
        elif outcomes and set(outcomes) == {FAIL}:
            expected = FAIL
        else:
            expected = INFO
        assert overall(list(outcomes)) is expected


def test_the_worst_verdict_wins_in_any_order() -> None:
    order = [Verdict.PASS, Verdict.DEGRADED, Verdict.INCONCLUSIVE, Verdict.FAIL]
    for length in range(1, 5):
        for verdicts in permutations(order, length):
            assert worst(verdicts) is max(verdicts, key=order.index)
    assert worst([]) is Verdict.INCONCLUSIVE


def test_verdicts_have_exit_codes() -> None:
    assert {v.value: int(v.exit_code) for v in Verdict} == {
        "pass": 0,
        "fail": 1,
        "inconclusive": 3,
        "degraded": 4,
    }


@pytest.mark.parametrize(
    ("checked", "findings", "unknown", "verdict"),
    [
        (0, (), (), Verdict.INCONCLUSIVE),
        (1, (), (), Verdict.PASS),
        (1, (), ("why",), Verdict.INCONCLUSIVE),
        (0, (FINDING,), (), Verdict.FAIL),
        (1, (FINDING,), ("why",), Verdict.FAIL),
    ],
)
def test_judgements(
    checked: int, findings: tuple[Finding, ...], unknown: tuple[str, ...], verdict: Verdict
) -> None:
    assert Judgement(checked, findings, unknown).verdict is verdict
    tally = Tally(checked, list(findings), list(unknown))
    assert tally.judgement("n") == Judgement(checked, findings, unknown, "n")


PRECEDENCE = [1, 8, 7, 6, 130, 143, 3, 4, 5, 0]


def test_the_strongest_exit_code_wins_in_any_order() -> None:
    codes = {int(code): code for code in ExitCode}
    assert set(codes) == {*PRECEDENCE, 2}
    for left, right in product(PRECEDENCE, repeat=2):
        expected = min(left, right, key=PRECEDENCE.index)
        assert strongest([codes[left], codes[right]]) == expected
    assert strongest(codes[code] for code in reversed(PRECEDENCE)) == 1
    assert strongest([]) is ExitCode.NOTHING_RAN
    assert all(strongest([ExitCode.USAGE, code]) is ExitCode.USAGE for code in ExitCode)


def test_every_exit_code_says_what_it_means() -> None:
    for code in ExitCode:
        assert len(code.sentence) > 20
        assert code.sentence.endswith(".")
    assert len({code.sentence for code in ExitCode}) == len(ExitCode)


def test_errors_suggest_what_was_meant() -> None:
    error = unknown_name("fault", "commit-reply", ["commit-reply-lost", "pause"], where="cli")
    assert isinstance(error, UsageError)
    assert error.exit_code is ExitCode.USAGE
    assert "did you mean “commit-reply-lost”?" in error.fix
    assert "where: cli" in str(error)
    assert "known: none" in unknown_name("fault", "x", []).fix
