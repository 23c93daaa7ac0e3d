"""One scenario's verdict: what its invariants say, and whether its evidence supports a pass."""

from collections import Counter
from collections.abc import Mapping
from itertools import islice

from harness.core.history import Outcome
from harness.core.records import FaultPlan, FaultRecord, ProofRecord, ScenarioPlan
from harness.core.run_record import FaultSummary, InvariantRecord, PhaseRecord, ScenarioRecord
from harness.core.verdict import Finding, Judgement, Verdict, worst
from harness.oracle.case import Case
from harness.oracle.complete import gaps
from harness.oracle.findings import Reported
from harness.oracle.invariant import Invariant

_NAMED_MAX = 5


def judge_scenario(
    planned: ScenarioPlan,
    case: Case | None,
    invariants: Mapping[str, Invariant],
    reported: Reported,
    *,
    sealed: bool,
) -> ScenarioRecord:
    """Judge one planned scenario; `case` is None when the journal holds nothing of it."""
    never_ran = case is None or not (case.phases or case.operations)
    case = case or Case(planned.name)
    judged = [_invariant(name, invariants.get(name), case, reported) for name in planned.invariants]
    faults = _faults(planned, case)
    if never_ran:
        doubts = ["it never ran: the journal holds nothing of it"]
    else:
        doubts = [*_doubts(case, faults, judged), *gaps(planned, case)]
    if not sealed:
        doubts.append("the journal was never sealed: the run did not end")
    unclear = [f"{r.name}: {text}" for r in judged for text in r.unknown[:_NAMED_MAX]]
    broken = [f"{r.name}: {_counted(r.findings)}" for r in judged if r.verdict is Verdict.FAIL]
    verdicts = [record.verdict for record in judged]
    load = case.under_load()
    outcomes = Counter(record.outcome.value for record in load)
    return ScenarioRecord(
        name=planned.name,
        summary=planned.summary,
        verdict=worst([*verdicts, Verdict.INCONCLUSIVE] if doubts else verdicts),
        reasons=broken + doubts + unclear,
        operations={outcome.value: outcomes[outcome.value] for outcome in Outcome},
        attempts=sum(len(record.attempts) for record in load),
        resolved_info=len(case.resolved),
        faults=faults,
        invariants=judged,
        phases=_phases(case),
    )


def _counted(findings: int) -> str:
    return "1 violation" if findings == 1 else f"{findings} violations"


def _invariant(
    name: str, invariant: Invariant | None, case: Case, reported: Reported
) -> InvariantRecord:
    kind = invariant.kind if invariant else "unknown"
    summary = invariant.summary if invariant else ""
    judgement = _judgement(name, invariant, case)
    unknown = list(judgement.unknown)
    fresh, carried = 0, Counter[str]()
    if kind == "control":
        unknown += [_line(finding) for finding in judgement.findings]
    else:
        for finding in judgement.findings:
            earlier = reported.add(case, name, finding)
            carried.update([earlier] if earlier else [])
            fresh += not earlier
        unknown += [f"{_counted(n)} of {earlier} persist" for earlier, n in carried.items()]
    if not judgement.checked and not fresh and not unknown:
        unknown.append("it found nothing to look at")
    return InvariantRecord(
        name=name,
        kind=kind,
        summary=summary,
        verdict=Verdict.FAIL if fresh else (Verdict.INCONCLUSIVE if unknown else judgement.verdict),
        checked=judgement.checked,
        findings=len(judgement.findings) if kind == "control" else fresh,
        unknown=unknown,
        note=judgement.note,
    )


def _line(finding: Finding) -> str:
    return f"{finding.subject}: {finding.title} ({finding.actual})"


def _judgement(name: str, invariant: Invariant | None, case: Case) -> Judgement:
    if invariant is None:
        return Judgement(0, unknown=(f"no invariant is named “{name}”",))
    if "after" not in case.moments:
        return Judgement(0, unknown=("the books were not read in full at the end",))
    try:
        return invariant.check(case)
    except Exception as error:  # whatever a checker raises, it has not judged
        return Judgement(0, unknown=(f"the checker failed: {type(error).__name__}: {error}",))


def _faults(planned: ScenarioPlan, case: Case) -> list[FaultSummary]:
    """Planned faults, then those that only the journal knows."""
    plans = {fault.id: fault for fault in planned.faults}
    seen = {fault.fault: fault for fault in reversed(case.faults)}
    proofs = {proof.fault: proof for proof in case.proofs}
    ids = dict.fromkeys([*plans, *(fault.fault for fault in case.faults)])
    return [_fault(plans.get(id), seen.get(id), proofs.get(id), case, id) for id in ids]


def _fault(
    plan: FaultPlan | None,
    record: FaultRecord | None,
    proof: ProofRecord | None,
    case: Case,
    id: str,
) -> FaultSummary:
    fault = record or plan
    assert fault is not None, "the id comes from one of the two"
    times = case.fault_times.get(id, {})
    return FaultSummary(
        id=id,
        name=fault.name,
        link=fault.link,
        operation=fault.operation,
        parameters=fault.parameters,
        from_ms=_ms(times.get("applied")),
        until_ms=_ms(times.get("healed")),
        bit=proof is not None and proof.bit,
        bit_ms=_ms(proof.at_ns) if proof and proof.bit and proof.at_ns else None,
        observer=proof.observer if proof else "",
        evidence=proof.evidence if proof else {},
    )


def _ms(at_ns: int | None) -> int | None:
    return None if at_ns is None else at_ns // 1_000_000


def _phases(case: Case) -> list[PhaseRecord]:
    found: list[PhaseRecord] = []
    for name, event, at_ns in case.phases:
        if event == "begin":
            found.append(PhaseRecord(name=name, from_ms=at_ns // 1_000_000))
        else:
            for phase in found:
                if phase.name == name and phase.until_ms is None:
                    phase.until_ms = at_ns // 1_000_000
                    break
    return found


def _doubts(case: Case, faults: list[FaultSummary], judged: list[InvariantRecord]) -> list[str]:
    """Why this evidence supports no pass, whatever the invariants say."""
    doubts = [*case.problems]
    idle = [fault for fault in faults if fault.from_ms is None]
    if idle:
        doubts.append(f"{len(idle)} of {len(faults)} faults were not applied: {_named(idle)}")
    blunt = [fault for fault in faults if fault.from_ms is not None and not fault.bit]
    if blunt:
        doubts.append(f"{len(blunt)} of {len(faults)} faults did not bite: {_named(blunt)}")
    doubts += [f"fault {fault} was never healed" for fault in case.not_undone()]
    load = case.under_load()
    if not load:
        doubts.append("no operation was sent under load")
    outcomes = {record.operation.kind: Counter[Outcome]() for record in load}
    for record in load:
        outcomes[record.operation.kind][record.outcome] += 1
    doubts += [
        f"none of {count.total()} {kind} operations under load succeeded"
        for kind, count in outcomes.items()
        if not count[Outcome.OK]
    ]
    unresolved = case.unresolved()
    if unresolved:
        ids = ", ".join(record.operation.id for record in islice(unresolved, _NAMED_MAX))
        doubts.append(f"{len(unresolved)} outcomes are unknown even after final reads: {ids}")
    if not case.quiet:
        doubts.append("the recovery window did not end")
    if all(record.kind in ("control", "unknown") for record in judged):
        doubts.append("no safety or liveness invariant judged it")
    return doubts


def _named(faults: list[FaultSummary]) -> str:
    named = [f"{fault.id} ({fault.name} at {fault.link or 'the stack'})" for fault in faults]
    more = f" and {len(named) - _NAMED_MAX} more" if len(named) > _NAMED_MAX else ""
    return ", ".join(named[:_NAMED_MAX]) + more
