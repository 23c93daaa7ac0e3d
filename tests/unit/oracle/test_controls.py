"""The controls: they hold, they name what deviated, and they know when they saw nothing."""

from dataclasses import replace

from harness.core.records import ExchangeRecord
from harness.core.verdict import Verdict
from harness.oracle.journeys import link_class
from tests.unit.oracle.builder import FAIL, INFO, MS, OK, STORM, World, attempt, healthy, price


def exchange(
    trace: str, link: str, *units: int, phase: str = "load", at: int = 0
) -> ExchangeRecord:
    return ExchangeRecord(STORM, phase, trace, link, units, at, at + 10)


def calm(bystanders: int = 3) -> World:
    """One baseline journey, a journey with a fault, and some bystanders."""
    world = healthy(bystanders + 1)
    world.fault("f1", aim="storm/buy/1", at_ms=250)
    world.journey(99, phase="baseline")
    world.exchanges.append(exchange("trace-buy-99", "door-2-store", 1, 2, 3, phase="baseline"))
    world.exchanges.append(exchange("trace-buy-99", "hand-partner", 4, phase="baseline"))
    for number in range(1, bystanders + 2):
        world.exchanges.append(exchange(f"trace-buy-{number}", "door-1-store", 1, 2, 3))
        world.exchanges.append(exchange(f"trace-buy-{number}", "hand-partner", 4))
    return world


def test_bystanders_that_behave_as_in_the_baseline() -> None:
    judgement = calm().check("bystanders-undisturbed")
    assert (judgement.verdict, judgement.checked) == (Verdict.PASS, 3)
    assert judgement.note == "0 of 3 bystanders deviated"


def test_the_faulted_journey_itself_may_deviate() -> None:
    world = calm()
    world.exchanges = [e for e in world.exchanges if e.trace != "trace-buy-1"]
    world.change("buy/1", attempts=world.operations[1].attempts * 2)
    assert world.check("bystanders-undisturbed").verdict is Verdict.PASS


def test_a_bystander_with_another_message_is_named() -> None:
    world = calm()
    world.exchanges = [
        replace(e, units=(1, 7, 3)) if e.trace == "trace-buy-3" and len(e.units) > 1 else e
        for e in world.exchanges
    ]
    found = world.check("bystanders-undisturbed").findings
    assert [f.subject for f in found] == ["storm/buy/3"]
    assert found[0].actual == "door-store: message 2 of 3 is #7, not #2"


def test_a_bystander_with_a_missing_link_or_a_second_attempt_is_named() -> None:
    world = calm()
    world.exchanges = [
        e for e in world.exchanges if (e.trace, e.link) != ("trace-buy-2", "hand-partner")
    ]
    op = next(r for r in world.operations if r.operation.id == "storm/buy/4")
    world.change("buy/4", attempts=op.attempts * 2)
    found = world.check("bystanders-undisturbed").findings
    assert {f.subject: f.actual for f in found} == {
        "storm/buy/2": "hand-partner: message 1 of 0 is nothing, not #4",
        "storm/buy/4": "2 attempts",
    }


def test_bystanders_need_a_baseline_and_faults_with_an_aim() -> None:
    world = calm()
    world.exchanges = [e for e in world.exchanges if e.phase != "baseline"]
    assert "no exchange of buy" in world.check("bystanders-undisturbed").unknown[0]
    world = calm()
    world.fault_aim = ""
    assert world.check("bystanders-undisturbed").unknown == ("faults hit everybody: f1",)
    assert World().check("bystanders-undisturbed").verdict is Verdict.INCONCLUSIVE


def test_clients_of_the_subject_that_a_fault_hit_are_no_bystanders() -> None:
    world = calm()
    world.operation("buy", 50, FAIL, amount=price(1), subject="p1")
    assert world.check("bystanders-undisturbed").checked == 3


def test_messages_of_another_phase_are_not_compared() -> None:
    world = calm()
    world.exchanges.append(exchange("trace-buy-2", "door-1-store", 9, phase="settle", at=90))
    assert world.check("bystanders-undisturbed").verdict is Verdict.PASS


def test_link_classes() -> None:
    assert link_class("api-1-postgres") == "api-postgres"
    assert link_class("client-api-12") == "client-api"
    assert link_class("worker-redis") == "worker-redis"


def crowd(size: int) -> World:
    """A fault that bites at 500 ms while `size` other purchases are under way."""
    world = World()
    world.fault("f1", aim="storm/buy/0", at_ms=500)
    for number in range(size + 1):
        world.operation("buy", number, amount=price(number), at_ms=400)
        world.operation("await", number, key="", at_ms=600)
    return world


def test_enough_others_in_flight() -> None:
    judgement = crowd(20).check("others-in-flight")
    assert (judgement.verdict, judgement.note) == (Verdict.PASS, "at least 20 in flight")


def test_too_few_others_in_flight() -> None:
    judgement = crowd(19).check("others-in-flight")
    assert [(f.subject, f.actual) for f in judgement.findings] == [("f1", "19")]


def test_those_that_ended_or_not_begun_are_not_in_flight() -> None:
    world = crowd(25)
    for number in range(1, 11):
        world.change(f"await/{number}", attempts=world.operations[2 * number].attempts)
    assert world.check("others-in-flight").findings[0].actual == "15"


def test_nobody_knows_when_it_bit() -> None:
    world = crowd(25)
    world.proofs = [replace(world.proofs[0], at_ns=0)]
    assert world.check("others-in-flight").verdict is Verdict.INCONCLUSIVE
    assert World().check("others-in-flight").verdict is Verdict.INCONCLUSIVE


def race(*gaps_ms: int) -> World:
    """Rounds of two clients who buy the same thing through two doors, the second later by a gap."""
    world = World()
    for number, gap_ms in enumerate(gaps_ms):
        for client, (door, outcome) in enumerate([("door-1", OK), ("door-2", FAIL)]):
            at_ms, name = client * gap_ms, f"p{number + 1}"
            record = world.operation(
                "buy", 2 * number + client, outcome, amount=price(number + 1), subject=name,
                at_ms=at_ms,
            )  # fmt: skip
            attempts = tuple(replace(a, entry=door) for a in record.attempts)
            world.change(f"buy/{2 * number + client}", attempts=attempts)
            begin, trace = at_ms * MS, record.operation.trace
            world.exchanges.append(
                ExchangeRecord(
                    STORM, "load", trace, f"{door}-postgres", (1,), begin, begin + MS
                )
            )  # fmt: skip
    return world


def test_requests_that_met() -> None:
    judgement = race(0).check("entries-overlap")
    assert (judgement.verdict, judgement.checked) == (Verdict.PASS, 1)


def test_three_rounds_of_four_must_meet() -> None:
    judgement = race(0, 0, 0, 5).check("entries-overlap")
    assert (judgement.verdict, judgement.checked) == (Verdict.PASS, 4)
    judgement = race(0, 5, 0, 5).check("entries-overlap")
    assert (judgement.verdict, len(judgement.findings)) == (Verdict.FAIL, 2)


def test_requests_that_passed_each_other() -> None:
    found = race(5).check("entries-overlap").findings
    assert found[0].actual == "door-1-postgres and door-2-postgres"
    world = race(0)
    world.exchanges.pop()
    assert world.check("entries-overlap").verdict is Verdict.FAIL


def test_a_retry_that_meets_the_other_request_fakes_no_overlap() -> None:
    world = race(10)
    first = world.operations[0]
    again = replace(attempt(first.operation.id, 1, OK, 10), entry="door-2")
    world.change("buy/0", attempts=(*first.attempts, again))
    trace = first.operation.trace
    at = 10 * MS
    world.exchanges.append(ExchangeRecord(STORM, "load", trace, "door-2-postgres", (1,), at, at))
    assert world.check("entries-overlap").verdict is Verdict.FAIL


def test_an_exchange_that_outlasts_its_first_attempt_counts_only_as_its_beginning() -> None:
    world = race(10)
    world.exchanges[0] = replace(world.exchanges[0], last_ns=30 * MS)
    assert world.check("entries-overlap").verdict is Verdict.FAIL
    world = race(1)
    world.exchanges[0] = replace(world.exchanges[0], last_ns=4 * MS)
    assert world.check("entries-overlap").verdict is Verdict.PASS


def test_messages_outside_the_first_attempt_show_nothing() -> None:
    world = race(0)
    world.exchanges[0] = replace(world.exchanges[0], first_ns=6 * MS, last_ns=7 * MS)
    world.exchanges[1] = replace(world.exchanges[1], last_ns=7 * MS)
    assert world.check("entries-overlap").verdict is Verdict.FAIL


def test_a_round_of_one_entry_or_one_client_shows_nothing() -> None:
    world = race(0)
    world.change("buy/1", attempts=world.operations[0].attempts)
    assert world.check("entries-overlap").findings[0].actual == "one entry: door-1-postgres"
    lone = World()
    lone.operation("buy", 1, INFO, amount=price(1))
    assert lone.check("entries-overlap").verdict is Verdict.INCONCLUSIVE
