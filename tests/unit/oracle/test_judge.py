"""The judge: when a run may be green, what makes it red, and what stays open."""

from dataclasses import replace

import pytest

from harness.core.errors import EvidenceError
from harness.core.exit_codes import ExitCode
from harness.core.journal import Journal, read
from harness.core.records import ExchangeRecord, ProofRecord, ResolutionRecord
from harness.core.verdict import Finding, Judgement, Verdict
from harness.oracle.findings import finding_id
from harness.oracle.invariant import Invariant
from harness.oracle.judge import judge
from tests.unit.oracle.builder import (
    FAIL,
    INFO,
    OK,
    STORM,
    World,
    all_invariants,
    attempt,
    healthy,
    journal,
    judged,
    price,
)

INTERRUPTED = ("interrupted", {"exit_code": 130, "reason": "Ctrl-C"})
HARNESS = ("harness", {"what": "no steady state", "value": "503", "where": "door-1", "fix": "look"})


def faulted(**fields: object) -> World:
    world = healthy(3, **fields)
    world.fault("f1")
    world.fault("f2")
    return world


def broken(**fields: object) -> World:
    world = faulted(**fields)
    world.buy_at_partner(2, id="o9")
    return world


def reasons(*worlds: World, **options: object) -> str:
    record = judged(*worlds, **options)
    assert (record.verdict, record.exit_code) == (Verdict.INCONCLUSIVE, 3), record.reason
    return "\n".join(record.scenarios[0].reasons)


def with_invariant(world: World, check: object, kind: str = "safety") -> object:
    own = {"own": Invariant("own", kind, check)}  # type: ignore[arg-type]
    world.wanted = (*world.wanted, "own")
    return judge(journal(world), {**all_invariants(), **own})


# -- pass ---------------------------------------------------------------------------------------


def test_pass() -> None:
    record = judged(faulted())
    assert (record.verdict, record.exit_code) == (Verdict.PASS, 0)
    assert record.reason == (
        "every invariant held in 1 scenario, 2 of 2 faults bit,"
        " 6 operations ended with a known outcome"
    )
    scenario = record.scenarios[0]
    assert (scenario.reasons, scenario.operations) == ([], {"ok": 6, "fail": 0, "info": 0})
    assert (scenario.attempts, record.findings, record.seed) == (6, [], 7)
    fault = scenario.faults[0]
    assert fault.from_ms is not None
    assert fault.until_ms is not None
    assert fault.from_ms < fault.until_ms
    assert (fault.bit, fault.observer, fault.evidence) == (True, "the server", {"seen": "1"})
    assert [p.name for p in scenario.phases] == ["prepare", "baseline", "load", "settle"]
    assert all(p.until_ms is not None and p.from_ms <= p.until_ms for p in scenario.phases)
    assert scenario.invariants[0].checked == 9
    assert scenario.invariants[0].summary.startswith("Every acknowledged operation")


def test_the_same_journal_gives_the_identical_record() -> None:
    records, given = journal(broken()), all_invariants()
    first = judge(records, given).model_dump_json()
    assert judge(iter(records), dict(reversed(given.items()))).model_dump_json() == first


def test_a_real_journal_file_is_judged_like_its_records(tmp_path) -> None:
    records = journal(broken(), seal=False)
    file = Journal(tmp_path / "journal.ndjson")
    for record in records:
        file.write(record.type, record.data, at_ns=file.start_ns + record.at_ns)
    head = file.seal()
    result = judge(read(file.path), all_invariants())
    assert (result.verdict, result.journal_head) == (Verdict.FAIL, head)
    expected = judge(journal(broken()), all_invariants())
    assert result.findings == expected.findings


# -- fail ---------------------------------------------------------------------------------------


def test_fail_names_the_culprit() -> None:
    record = judged(broken(), variant="PAR-01")
    assert (record.verdict, record.exit_code) == (Verdict.FAIL, 1)
    assert "purchase p2: executed more than once at the partner" in record.reason
    assert "in storm" in record.reason
    finding = record.findings[0]
    assert finding.id == "storm.applied-exactly-once.executed-twice"
    assert finding.replay == "stormproof run storm --seed 7 --variant PAR-01"
    assert finding.count == 1
    assert finding.examples[0].operation == "storm/buy/2"
    assert finding.examples[0].at_ms == 200
    assert "(s2, o2, o9)" in finding.examples[0].actual
    assert record.scenarios[0].reasons == ["applied-exactly-once: 1 violation"]
    assert judged(broken()).findings[0].replay == "stormproof run storm --seed 7"


def test_examples_are_first_worst_last_and_at_most_twenty() -> None:
    def check(case: object) -> Judgement:
        found = [
            Finding("t", "k", f"s{n}", "e", "a", at_ns=n * 1_000_000, weight=n if n == 17 else 0)
            for n in reversed(range(50))
        ]
        return Judgement(50, tuple(found))

    record = with_invariant(faulted(), check)
    finding = record.findings[0]  # type: ignore[attr-defined]
    assert finding.count == 50
    subjects = [example.subject for example in finding.examples]
    assert subjects[:4] == ["s0", "s17", "s49", "s1"]
    assert len(subjects) == len(set(subjects)) == 20


def test_ids_are_stable_and_readable() -> None:
    assert finding_id("a", "b", "c-d") == "a.b.c-d"
    assert finding_id("a", "b", "C d!") == finding_id("a", "b", "C d!")
    assert finding_id("a", "b", "C d!").startswith("a.b.c-d-")
    assert finding_id("a", "b", "C d!") != finding_id("a", "b", "C d?")


@pytest.mark.parametrize("extra", [INTERRUPTED, HARNESS])
def test_a_violation_wins_over_every_other_end(extra: tuple[str, object]) -> None:
    record = judged(broken(), extra=[extra])
    assert (record.verdict, record.exit_code) == (Verdict.FAIL, 1)
    record = judged(broken(fault_events=("intent", "applied")), seal=False)
    assert (record.verdict, record.exit_code) == (Verdict.FAIL, 1)


def test_what_an_earlier_scenario_broke_accuses_only_that_one() -> None:
    first, second = broken(), broken(name="calm")
    second.operations = [
        replace(r, operation=replace(r.operation, id=f"calm/{n}", amount_minor=0))
        for n, r in enumerate(second.operations)
    ]
    second.operation("buy", 9, amount=price(9), subject="p9")
    second.operation("open", 9, amount=price(9), subject="p9", phase="prepare")
    second.post("r9", "reserve", "p9", price(9), "D PURSE:9", "C BLOCKED:9")
    second.settle(9)
    second.buy_at_partner(9)
    second.state(9, "NEW", "OPEN", "DONE")
    record = judged(first, second)
    assert [f.scenario for f in record.findings] == ["storm"]
    assert [s.verdict for s in record.scenarios] == [Verdict.FAIL, Verdict.INCONCLUSIVE]
    assert "1 violation of storm persist" in record.scenarios[1].reasons[0]


# -- inconclusive -------------------------------------------------------------------------------


def test_an_invariant_that_raises_is_neither_green_nor_red() -> None:
    def crash(case: object) -> Judgement:
        raise ZeroDivisionError("by zero")

    record = with_invariant(faulted(), crash)
    assert record.verdict is Verdict.INCONCLUSIVE  # type: ignore[attr-defined]
    assert "own: the checker failed: ZeroDivisionError: by zero" in record.reason  # type: ignore[attr-defined]
    assert record.scenarios[0].invariants[1].verdict is Verdict.INCONCLUSIVE  # type: ignore[attr-defined]


def test_an_unknown_invariant() -> None:
    world = faulted(wanted=("applied-exactly-once", "nonsense"))
    assert "no invariant is named “nonsense”" in reasons(world)


def test_an_invariant_that_saw_nothing() -> None:
    world = faulted(wanted=("applied-exactly-once", "responses-stable"))
    assert "responses-stable: it found nothing to look at" in reasons(world)


def test_a_broken_control_accuses_nobody() -> None:
    world = faulted(wanted=("applied-exactly-once", "bystanders-undisturbed"))
    world.journey(99, phase="baseline")
    for number, phase in ((99, "baseline"), (2, "load")):
        trace = f"trace-buy-{number}"
        world.exchanges.append(ExchangeRecord(STORM, phase, trace, "a-b", (1,), 0, 1))
    text = reasons(world)
    assert "bystanders-undisturbed: storm/buy/3: a bystander deviated" in text
    record = judged(world)
    assert record.findings == []
    control = record.scenarios[0].invariants[1]
    assert (control.kind, control.verdict, control.findings) == (
        "control",
        Verdict.INCONCLUSIVE,
        1,
    )


def test_controls_alone_judge_nothing() -> None:
    assert "no safety or liveness" in reasons(faulted(wanted=("others-in-flight",)))
    assert "no safety or liveness" in reasons(faulted(wanted=()))


def test_every_fault_must_have_bitten() -> None:
    world = faulted()
    world.proofs[1] = ProofRecord(STORM, "f2", False, "the server", {})
    text = reasons(world)
    assert "1 of 2 faults did not bite: f2 (cut at door-1-store)" in text
    world.proofs.pop()
    assert "1 of 2 faults did not bite: f2" in reasons(world)


def test_every_planned_fault_must_have_been_applied() -> None:
    text = reasons(faulted(fault_events=("intent",)))
    assert "2 of 2 faults were not applied: f1" in text
    assert "did not bite" not in text


def test_a_fault_that_only_the_journal_knows_needs_a_proof_too() -> None:
    world = faulted()
    plan = replace(world.plan(), faults=world.plan().faults[:1])
    world.proofs.pop()
    assert "1 of 2 faults did not bite: f2" in reasons(world, planned=[plan])


def test_something_must_have_happened() -> None:
    world = faulted()
    world.operations = [replace(r, phase="prepare") for r in world.operations]
    assert "no operation was sent under load" in reasons(world)


def test_every_planned_journey_must_have_left_an_operation() -> None:
    text = reasons(faulted(journeys_planned=5))
    assert "the journal holds nothing of 2 of 5 journeys under load" in text


def test_enough_must_have_happened() -> None:
    world = faulted(operations_min=6)
    assert judged(world).verdict is Verdict.PASS
    world.operations_min = 7
    assert "6 operations under load, where 7 are the least" in reasons(world)


def test_the_journal_must_hold_every_operation_that_was_counted() -> None:
    assert "the journal holds 6 of 8 operations in load" in reasons(faulted(operations_lost=2))


def test_messages_of_operations_that_the_journal_lacks() -> None:
    world = faulted()
    world.exchanges.append(ExchangeRecord(STORM, "load", "trace-lost", "a-b", (1,), 0, 1))
    assert "messages of 1 traces without their operations" in reasons(world)


def test_every_kind_of_operation_must_have_succeeded_once() -> None:
    world = faulted()
    world.operation("cancel", 7, FAIL)
    world.operation("cancel", 8, FAIL)
    assert "none of 2 cancel operations under load succeeded" in reasons(world)


def test_an_outcome_that_stays_unknown() -> None:
    world = faulted()
    world.change("buy/2", outcome=INFO)
    assert "1 outcomes are unknown even after final reads: storm/buy/2" in reasons(world)
    world.resolutions = [ResolutionRecord(STORM, "storm/buy/2", INFO, "", "a read that timed out")]
    assert "storm/buy/2" in reasons(world)
    assert any("1 outcomes" in text for text in judged(world).not_shown)


def test_final_reads_resolve_unknown_outcomes() -> None:
    world = faulted()
    world.change("buy/2", outcome=INFO, subject="")
    world.resolutions = [ResolutionRecord(STORM, "storm/buy/2", OK, "p2", "a read")]
    record = judged(world)
    assert record.verdict is Verdict.PASS
    scenario = record.scenarios[0]
    assert (scenario.resolved_info, scenario.operations["info"]) == (1, 0)
    world.resolutions = [ResolutionRecord(STORM, "storm/buy/2", FAIL, "p2", "a read")]
    world.change("buy/2", attempts=(attempt("storm/buy/2", 0, INFO, 200),))
    assert judged(world).verdict is Verdict.PASS
    world.buy_at_partner(2, id="o9")
    finding = judged(world).findings[0]
    assert finding.id.endswith("executed-twice")
    assert len(finding.examples[0].records) == 2


def test_a_resolution_changes_no_known_outcome() -> None:
    world = faulted()
    world.resolutions = [ResolutionRecord(STORM, "storm/buy/2", FAIL, "p2", "a read")]
    assert judged(world).verdict is Verdict.PASS


def test_problems() -> None:
    assert "units were dropped" in reasons(faulted(problems=["units were dropped"]))
    for_all = ("problem", {"scenario": "", "what": "logs are lost"})
    assert "logs are lost" in reasons(faulted(), extra=[for_all])


def test_a_planned_scenario_that_never_ran() -> None:
    first, second = faulted(), World(name="calm", wanted=("applied-exactly-once",))
    record = judged(first, planned=[first.plan(), second.plan()])
    assert [s.verdict for s in record.scenarios] == [Verdict.PASS, Verdict.INCONCLUSIVE]
    assert record.reason.startswith("calm: it never ran")
    assert "calm did not run." in record.not_shown


def test_a_journal_without_a_seal() -> None:
    assert "never sealed" in reasons(faulted(), seal=False)


def test_books_that_were_not_read_accuse_nobody() -> None:
    world = faulted(moments=("before",))
    assert "the books were not read in full at the end" in reasons(world)
    cut = [r for r in journal(faulted(), seal=False) if r.type != "snapshot"]
    assert judge(cut, all_invariants()).verdict is Verdict.INCONCLUSIVE


def test_a_snapshot_with_missing_rows_is_no_evidence() -> None:
    records = journal(faulted())
    first = next(r for r in records if r.type == "books")
    with pytest.raises(EvidenceError, match="rows of"):
        judge([r for r in records if r is not first], all_invariants())


def test_a_recovery_window_that_did_not_end() -> None:
    assert "the recovery window did not end" in reasons(faulted(settled=False))


# -- other ends ---------------------------------------------------------------------------------


def test_interrupted_has_no_verdict() -> None:
    record = judged(faulted(), extra=[INTERRUPTED])
    assert (record.verdict, record.exit_code) == (None, ExitCode.INTERRUPTED)
    assert record.reason == "interrupted: Ctrl-C"
    terminated = ("interrupted", {"exit_code": 143, "reason": "SIGTERM"})
    assert judged(faulted(), extra=[terminated]).exit_code == 143


def test_our_own_errors_have_no_verdict_and_win_over_signals() -> None:
    record = judged(faulted(), extra=[INTERRUPTED, HARNESS])
    assert (record.verdict, record.exit_code) == (None, ExitCode.HARNESS)
    assert "no steady state · value: 503 · where: door-1 · next: look" in record.reason


def test_a_fault_that_was_never_healed() -> None:
    record = judged(faulted(fault_events=("intent", "applied")))
    assert (record.verdict, record.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.NOT_UNDONE)
    assert "fault f1 in storm was never healed" in record.reason
    record = judged(faulted(fault_events=("intent", "applied")), extra=[HARNESS])
    assert (record.verdict, record.exit_code) == (None, ExitCode.NOT_UNDONE)
    assert "never healed" in record.reason
    assert "no steady state" in record.reason


def test_nothing_was_planned() -> None:
    record = judged()
    assert (record.verdict, record.exit_code) == (None, ExitCode.NOTHING_RAN)
    assert record.reason == "no scenario was planned"
    assert judged(extra=[HARNESS]).exit_code == ExitCode.HARNESS


def test_a_journal_without_a_plan_or_with_a_strange_record() -> None:
    with pytest.raises(EvidenceError, match="no plan"):
        judge([], all_invariants())
    strange = ("operation", {"scenario": STORM})
    with pytest.raises(EvidenceError, match="type “operation” lacks the fields"):
        judged(faulted(), extra=[strange])


def test_limits_are_never_empty() -> None:
    record = judged(faulted(), variant="PAR-01")
    text = "\n".join(record.not_shown)
    assert "does not prove that there is none" in text
    assert "variant PAR-01" in text
    assert "storm is one sample: 6 operations by 2 clients at a time, with 2 faults" in text
    assert judged().not_shown


def test_operations_after_the_snapshot_are_not_missed_in_it() -> None:
    first, later = faulted(), World(name="later", moments=())
    later.operation("buy", 9, amount=price(9))
    record = judged(first, later)
    assert record.scenarios[0].verdict is Verdict.PASS
    assert record.scenarios[1].verdict is Verdict.INCONCLUSIVE
