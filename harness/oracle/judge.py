"""The judge: a journal and given invariants become a run record, and nothing else is read.

The same journal and invariants always give the identical record, so a stored run can be judged
again by `analyze` and compared by `verify`.
"""

from collections.abc import Iterable, Mapping

from harness.core.errors import EvidenceError
from harness.core.exit_codes import ExitCode, strongest
from harness.core.journal import SEAL, Record
from harness.core.records import PlanRecord, decode
from harness.core.run_record import FindingRecord, RunRecord, ScenarioRecord
from harness.core.verdict import Verdict, worst
from harness.oracle.case import Case, cases
from harness.oracle.findings import Reported
from harness.oracle.invariant import Invariant
from harness.oracle.limits import limits
from harness.oracle.scenario import judge_scenario


def judge(records: Iterable[Record], invariants: Mapping[str, Invariant]) -> RunRecord:
    """Judge a journal with the invariants that its plan names.

    Raises `EvidenceError` when the journal holds no plan, or records that cannot be read.
    """
    journal = list(records)
    plan = _plan(journal)
    found = {case.scenario: case for case in cases(journal)}
    sealed = journal[-1].type == SEAL
    reported = Reported(plan)
    scenarios = [
        judge_scenario(planned, found.get(planned.name), invariants, reported, sealed=sealed)
        for planned in plan.scenarios
    ]
    stops = [_Stop(record) for record in journal if record.type in ("harness", "interrupted")]
    verdict, exit_code = _conclude(scenarios, stops, found)
    findings = reported.findings()
    return RunRecord(
        verdict=verdict,
        exit_code=exit_code,
        reason=_reason(verdict, scenarios, stops, findings, found),
        run_id=plan.run_id,
        command=plan.command,
        started_at=plan.started_at,
        duration_ms=max(record.at_ns for record in journal) // 1_000_000,
        seed=plan.seed,
        profile=plan.profile,
        target=plan.target,
        stack=plan.stack,
        variant=plan.variant,
        commit=plan.commit,
        versions=plan.versions,
        settings=plan.settings,
        scenarios=scenarios,
        findings=findings,
        not_shown=limits(plan, found),
        journal_head=journal[-1].hash,
    )


def _plan(journal: list[Record]) -> PlanRecord:
    for record in journal:
        if record.type == "plan":
            return decode(PlanRecord, record.data)
    raise EvidenceError("the journal has no plan", value=f"{len(journal)} records")


class _Stop:
    """Why a run ended before its time: an error of ours or a signal."""

    def __init__(self, record: Record) -> None:
        data = {name: str(value) for name, value in record.data.items()}
        if record.type == "interrupted":
            self.code = next(code for code in ExitCode if code == int(data["exit_code"]))
            self.text = f"interrupted: {data['reason']}"
        else:
            self.code = ExitCode.HARNESS
            parts = [data.get(name, "") for name in ("what", "value", "where", "fix")]
            labels = ("", "value: ", "where: ", "next: ")
            self.text = " · ".join(
                label + part for label, part in zip(labels, parts, strict=True) if part
            )


def _conclude(
    scenarios: list[ScenarioRecord], stops: list[_Stop], found: Mapping[str, Case]
) -> tuple[Verdict | None, ExitCode]:
    verdict = worst(scenario.verdict for scenario in scenarios)
    codes = [stop.code for stop in stops]
    if any(case.not_undone() for case in found.values()):
        codes.append(ExitCode.NOT_UNDONE)
    if verdict is Verdict.FAIL:
        return verdict, strongest([*codes, ExitCode.FAIL])
    if stops:
        return None, strongest(codes)
    if not scenarios:
        return None, strongest([*codes, ExitCode.NOTHING_RAN])
    return verdict, strongest([*codes, verdict.exit_code])


def _reason(
    verdict: Verdict | None,
    scenarios: list[ScenarioRecord],
    stops: list[_Stop],
    findings: list[FindingRecord],
    found: Mapping[str, Case],
) -> str:
    if verdict is Verdict.FAIL:
        return _accusation(findings)
    left = [
        f"fault {fault} in {case.scenario} was never healed"
        for case in found.values()
        for fault in case.not_undone()
    ]
    if verdict is None and not scenarios and not stops:
        return "no scenario was planned"
    if left or stops:
        return "; ".join(left + [stop.text for stop in stops])
    if verdict is Verdict.PASS:
        return _praise(scenarios)
    doubtful = [scenario for scenario in scenarios if scenario.verdict is verdict]
    rest = f" (and {len(doubtful) - 1} more scenarios)" if len(doubtful) > 1 else ""
    return f"{doubtful[0].name}: {doubtful[0].reasons[0]}{rest}"


def _accusation(findings: list[FindingRecord]) -> str:
    first = findings[0]
    example = first.examples[0]
    total = sum(finding.count for finding in findings)
    rest = f"; {total} violations in all" if total > 1 else ""
    return f"{example.subject}: {first.title}, in {first.scenario}{rest}"


def _praise(scenarios: list[ScenarioRecord]) -> str:
    faults = [fault for scenario in scenarios for fault in scenario.faults]
    bit = sum(fault.bit for fault in faults)
    operations = sum(sum(scenario.operations.values()) for scenario in scenarios)
    return (
        f"every invariant held in {len(scenarios)} scenario{'' if len(scenarios) == 1 else 's'}, "
        f"{bit} of {len(faults)} faults bit, {operations} operations ended with a known outcome"
    )
