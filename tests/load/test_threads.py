"""The thread driver against a real service, with real trouble."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from harness.core.errors import HarnessError
from harness.core.history import Completed, Outcome
from harness.core.target import Clients
from harness.core.waits import Deadline
from load.drivers.threads import run_threads
from load.job import LoadJob
from load.perform import Limits
from tests.load.service.server import TinyService

MakeJob = Callable[..., LoadJob]


def test_every_journey_is_performed_once(
    service: TinyService, clients: Clients, done: list[Completed], make_job: MakeJob
) -> None:
    job = make_job("open-investments")
    opened = run_threads(job, clients, done.append)
    executed = run_threads(
        make_job("execute-investments", known=opened.known), clients, done.append
    )
    assert sorted(opened.known) == sorted(executed.known) == list(range(12))
    assert opened.stopped == executed.stopped == {}
    # Journeys 0 and 10 repeat their execution with the old key, journey 2 all that comes before;
    # journey 3 asks for something else with an old key, and is refused.
    assert len({each.operation.id for each in done}) == len(done) == 12 * 6 + 2 + 3 + 1
    assert [d.operation.number for d in done if d.outcome is not Outcome.OK] == [3]
    assert set(service.applied.values()) == {1}
    left = sorted(2 * job.cast.amount_minor(number) + 1 for number in range(12))
    assert sorted(service.balances.values()) == left
    assert opened.started_ns < opened.ended_ns <= executed.started_ns


def test_a_paced_load_begins_its_journeys_in_time(
    service: TinyService, clients: Clients, done: list[Completed], make_job: MakeJob
) -> None:
    job = make_job("open-investments", count=6, clients=6, per_second=20.0)
    result = run_threads(job, clients, done.append)
    assert sorted(result.known) == list(range(6))
    begun: dict[int, int] = {}
    for each in done:
        sent_ns = each.attempts[0].sent_ns
        begun[each.operation.number] = min(sent_ns, begun.get(each.operation.number, sent_ns))
    intended = result.intended_ns(job)
    assert intended[5] - intended[0] == 250_000_000
    late_ms = {number: (begun[number] - intended[number]) / 1e6 for number in intended}
    assert all(ms >= 0 for ms in late_ms.values()), late_ms


def test_trouble_is_attempted_again_with_the_same_key(
    service: TinyService, clients: Clients, done: list[Completed], make_job: MakeJob
) -> None:
    opened = run_threads(make_job("open-investments"), clients, done.append)
    done.clear()
    service.trouble["execute"] = ["reset", "refuse", "cut", "close"]
    run_threads(make_job("execute-investments", known=opened.known), clients, done.append)
    writes = [each for each in done if each.operation.kind == "execute-investment"]
    repeated = [each for each in writes if len(each.attempts) > 1]
    assert len(repeated) == 3
    assert {each.outcome for each in writes} == {Outcome.OK}
    # Where the reply was lost after the effect, the repetition is a replay; after a refusal not.
    assert sorted(each.attempts[-1].replayed for each in repeated) == [False, True, True]
    assert set(service.applied.values()) == {1}


def test_rounds_start_together(
    service: TinyService, clients: Clients, done: list[Completed], make_job: MakeJob
) -> None:
    opened = run_threads(make_job("open-investments", count=3), clients, done.append)
    done.clear()
    job = make_job(
        "execute-one-investment",
        count=12,
        clients=4,
        in_rounds=True,
        params={"clients": "4"},
        known=opened.known,
    )
    result = run_threads(job, clients, done.append)
    assert sorted(result.known) == list(range(12))
    writes = [d for d in done if d.operation.key]
    rounds = [[d for d in writes if d.operation.number // 4 == each] for each in range(3)]
    assert [len({d.operation.key for d in part}) for part in rounds] == [1, 4, 1]
    assert all(len({d.operation.user for d in part}) == 1 for part in rounds)
    for earlier, later in zip(rounds, rounds[1:], strict=False):
        assert max(d.done_ns for d in earlier) <= min(d.sent_ns for d in later)
    outcomes = Counter(d.outcome for d in rounds[1])
    assert outcomes == {Outcome.OK: 1, Outcome.FAIL: 3}
    assert len({d.operation.trace for d in writes}) == 12


def test_a_journey_that_cannot_go_on_says_why(
    service: TinyService, clients: Clients, done: list[Completed], make_job: MakeJob
) -> None:
    result = run_threads(make_job("execute-investments", count=3), clients, done.append)
    assert result.known == {}
    assert result.stopped[1] == "no investment is known of journey 1"
    assert done == []


@pytest.mark.parametrize("way", ["time", "stop"])
def test_what_was_sent_but_not_finished_is_recorded_as_unknown(
    service: TinyService,
    clients: Clients,
    done: list[Completed],
    make_job: MakeJob,
    way: str,
) -> None:
    service.trouble["deposits"] = ["hang"] * 4
    stop = threading.Event()
    if way == "stop":
        threading.Timer(0.4, stop.set).start()
    deadline = Deadline(30)
    job = make_job("open-investments", max_seconds=0.6 if way == "time" else 25)
    result = run_threads(job, clients, done.append, stop=stop)
    assert 30 - deadline.remaining_seconds < 3
    assert sorted(result.stopped) == list(range(12))
    hung = [each for each in done if each.operation.kind == "fund"]
    assert len(hung) == 4
    assert {each.outcome for each in hung} == {Outcome.INFO}
    assert all(each.attempts[-1].status is None for each in hung)
    word = "s are over" if way == "time" else "a stop was asked for"
    assert all(word in reason for reason in result.stopped.values())
    assert sum("not started" in reason for reason in result.stopped.values()) == 8


def test_writes_are_bounded(
    service: TinyService, clients: Clients, done: list[Completed], make_job: MakeJob
) -> None:
    service.trouble["users"] = ["refuse"] * 50
    limits = Limits(write_attempts=5, first_pause_ms=1, pause_max_ms=2)
    job = make_job("open-investments", count=1, limits=limits)
    result = run_threads(job, clients, done.append)
    assert [attempt.number for attempt in done[0].attempts] == [0, 1, 2, 3, 4]
    assert result.stopped[0] == (
        "create-user ended as info after 5 attempts, the last with status 503"
    )


def test_a_failing_recorder_ends_the_load(
    service: TinyService, clients: Clients, make_job: MakeJob
) -> None:
    def record(_: Completed) -> None:
        raise OSError("disk full")

    with pytest.raises(HarnessError, match="disk full"):
        run_threads(make_job("open-investments"), clients, record)
