"""Performing an operation: when it is tried again, what is kept, what it all means."""

import hashlib
import threading

import pytest

from harness.core.cast import Cast
from harness.core.history import Operation, Outcome, Reading, Reply, Request
from harness.core.waits import Deadline
from load.perform import Limits, perform

QUICK = Limits(operation_seconds=5, first_pause_ms=1, pause_max_ms=1, write_attempts=4)
OPERATION = Cast(seed=1, scenario="s", slot=0).operation("pay", 3)


class Scripted:
    """Clients and sender in one: the replies are (status, outcome, again)."""

    def __init__(self, method: str, *replies: tuple[int | None, Outcome, bool]) -> None:
        self.method, self.replies, self.timeouts = method, list(replies), []

    def request(self, operation: Operation, attempt: int) -> Request:
        return Request(self.method, f"/{attempt}", "one")

    def __call__(self, request: Request, *, timeout_seconds: float) -> Reply:
        self.timeouts.append(timeout_seconds)
        self.status, self.outcome, self.again = self.replies.pop(0)
        headers = {"location": "/x", "idempotent-replayed": "true"}
        return Reply(self.status, headers, request.path.encode(), "" if self.status else "reset")

    def read(self, operation: Operation, reply: Reply) -> Reading:
        return Reading(self.outcome, again=self.again)


OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ([(201, OK, False)], OK),
        ([(422, FAIL, False)], FAIL),
        ([(None, INFO, True), (201, OK, False)], OK),
        ([(None, INFO, True), (422, FAIL, False)], INFO),
        ([(503, INFO, False)], INFO),
        ([(503, INFO, True)] * 4, INFO),
    ],
)
def test_outcome_of_writes(replies: list, outcome: Outcome) -> None:
    script = Scripted("POST", *replies)
    done = perform(OPERATION, script, script, limits=QUICK)
    assert done.outcome is outcome
    assert [attempt.number for attempt in done.attempts] == list(range(len(replies)))
    assert script.replies == []


@pytest.mark.parametrize(
    ("last", "outcome"),
    [((200, OK, False), OK), ((200, FAIL, False), FAIL), ((404, FAIL, False), FAIL)],
)
def test_a_read_is_what_it_was_told_last(last: tuple, outcome: Outcome) -> None:
    script = Scripted("GET", *[(200, OK, True)] * 20, last)
    done = perform(OPERATION, script, script, limits=QUICK)
    assert done.outcome is outcome
    assert [attempt.number for attempt in done.attempts] == [0, 20]
    assert done.attempts[0].outcome is INFO, "not done yet is not ok"


def test_a_read_that_never_ends_is_unknown_in_time() -> None:
    script = Scripted("GET", *[(200, OK, True)] * 10_000)
    deadline = Deadline(5)
    done = perform(OPERATION, script, script, limits=Limits(operation_seconds=0.2, pause_max_ms=5))
    assert done.outcome is INFO
    assert len(done.attempts) == 2
    assert 5 - deadline.remaining_seconds < 1
    assert max(script.timeouts) <= 0.2


def test_what_an_attempt_carries() -> None:
    script = Scripted("POST", (201, OK, False))
    attempt = perform(OPERATION, script, script).attempts[0]
    assert attempt.body_sha256 == hashlib.sha256(b"/0").hexdigest()
    assert (attempt.replayed, attempt.location, attempt.entry) == (True, "/x", "one")
    assert attempt.operation == OPERATION.id
    assert 0 < attempt.sent_ns <= attempt.done_ns


def test_stop_ends_the_repetition() -> None:
    stop = threading.Event()
    stop.set()
    script = Scripted("POST", *[(503, INFO, True)] * 4)
    done = perform(OPERATION, script, script, stop=stop)
    assert (len(done.attempts), done.outcome) == (1, INFO)


def test_pauses_double_are_capped_and_follow_from_the_id() -> None:
    limits = Limits()
    pauses = [limits.pause_seconds(OPERATION, n) for n in range(40)]
    assert pauses == [limits.pause_seconds(OPERATION, n) for n in range(40)]
    for number, pause in enumerate(pauses):
        full = min(0.25, 0.02 * 2**number)
        assert full / 2 <= pause <= full
    other = Cast(seed=1, scenario="s", slot=0).operation("pay", 4)
    assert limits.pause_seconds(other, 3) != pauses[3]
