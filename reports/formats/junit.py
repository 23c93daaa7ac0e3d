"""`junit.xml`: what every CI reads. A suite is a scenario, a case an invariant of it."""

import re
from collections import Counter
from itertools import groupby

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from harness.core.run_record import FaultSummary, FindingRecord, ScenarioRecord
from harness.core.verdict import Verdict
from reports.run import Run
from reports.words import pairs, repeat_command, span

MESSAGE_MAX = 2_000
# What XML 1.0 cannot hold, not even as a character reference.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Trouble = Failure | Error | None


def junit(run: Run) -> str:
    """The suites of a run. Only a pass is green: inconclusive and no verdict are errors."""
    root = JUnitXml("stormproof")
    root.add_testsuite(_run_suite(run))
    for scenario in run.record.scenarios:
        root.add_testsuite(_scenario_suite(run, scenario))
    root.update_statistics()
    return root.tostring().decode()


def _run_suite(run: Run) -> TestSuite:
    """The verdict of the whole run, so that a run without a scenario is seen too."""
    record = run.record
    suite = TestSuite("run")
    _properties(
        suite,
        {
            "run_id": record.run_id,
            "seed": str(record.seed),
            "target": record.target,
            "stack": record.stack,
            "profile": record.profile,
            "variant": record.variant,
            "commit": record.commit,
            "exit_code": str(record.exit_code),
            "repeat": repeat_command(record),
        },
    )
    _case(
        suite,
        "run.verdict",
        _trouble(record.verdict, record.reason, record.reason),
        seconds=record.duration_ms / 1000,
    )
    return suite


def _scenario_suite(run: Run, scenario: ScenarioRecord) -> TestSuite:
    suite = TestSuite(_clean(scenario.name))
    properties = {"seed": str(run.record.seed), "summary": scenario.summary}
    properties |= {f"phase.{p.name}": span(p.from_ms, p.until_ms) for p in scenario.phases}
    properties |= {f"fault.{kind}": _window(group) for kind, group in _kinds(scenario)}
    _properties(suite, properties)
    name = f"{scenario.name}.conclusive"
    unsure = scenario.verdict is Verdict.INCONCLUSIVE
    reasons = "\n".join(scenario.reasons)
    cases: list[tuple[str, Trouble]] = [
        (name, Error(_message(reasons), "inconclusive") if unsure else None)
    ]
    for invariant in scenario.invariants:
        findings = [
            f for f in run.findings if (f.scenario, f.invariant) == (scenario.name, invariant.name)
        ]
        text = "\n\n".join(_finding(f) for f in findings) or "\n".join(invariant.unknown)
        text = text or invariant.note or f"{invariant.checked} things were checked"
        message = text.partition("\n")[0]
        cases.append(
            (f"{scenario.name}.{invariant.name}", _trouble(invariant.verdict, message, text))
        )
    cases += [(f"{scenario.name}.fault:{kind}", _bites(group)) for kind, group in _kinds(scenario)]
    used: Counter[str] = Counter()
    for name, trouble in cases:
        # Some readers keep only the first of two cases with one name.
        used[name] += 1
        _case(suite, name if used[name] == 1 else f"{name}#{used[name]}", trouble)
    return suite


def _kinds(scenario: ScenarioRecord) -> list[tuple[str, list[FaultSummary]]]:
    def kind(fault: FaultSummary) -> str:
        return f"{fault.name}@{fault.link}"

    return [(k, list(group)) for k, group in groupby(sorted(scenario.faults, key=kind), key=kind)]


def _window(group: list[FaultSummary]) -> str:
    starts = [fault.from_ms for fault in group if fault.from_ms is not None]
    ends = [fault.until_ms for fault in group if fault.until_ms is not None]
    return span(min(starts, default=None), max(ends, default=None))


def _bites(group: list[FaultSummary]) -> Trouble:
    dull = [fault for fault in group if not fault.bit]
    if not dull:
        return None
    message = f"{len(dull)} of {len(group)} did not bite: {', '.join(f.id for f in dull)}"
    lines = [f"{f.id}: asked {f.observer or 'nobody'}; saw {pairs(f.evidence)}" for f in dull]
    return _text(Error(_message(message), "did-not-bite"), "\n".join([message, *lines]))


def _trouble(verdict: Verdict | None, message: str, text: str) -> Trouble:
    if verdict is Verdict.PASS:
        return None
    if verdict in (Verdict.FAIL, Verdict.DEGRADED):
        return _text(Failure(_message(message), verdict.value), text)
    kind = "no-verdict" if verdict is None else verdict.value
    return _text(Error(_message(message), kind), text)


def _finding(finding: FindingRecord) -> str:
    lines = [f"{finding.title} (×{finding.count})"]
    for example in finding.examples[:3]:
        at = f" at {example.at_ms} ms" if example.at_ms is not None else ""
        lines.append(f"{example.subject}{at}: expected {example.expected}; actual {example.actual}")
    return "\n".join([*lines, f"repeat: {finding.replay}"])


def _case(suite: TestSuite, name: str, trouble: Trouble, *, seconds: float = 0) -> None:
    case = TestCase(_clean(name), classname=_clean(suite.name), time=seconds)
    if trouble is not None:
        case.result = [trouble]
    suite.add_testcase(case)


def _properties(suite: TestSuite, values: dict[str, str]) -> None:
    for name, value in values.items():
        suite.add_property(_clean(name), _clean(value))


def _text(trouble: Failure | Error, text: str) -> Failure | Error:
    trouble.text = _clean(text)
    return trouble


def _message(text: str) -> str:
    return _clean(text[:MESSAGE_MAX])


def _clean(text: str) -> str:
    """The text with a visible escape for each character that XML cannot hold."""
    return _FORBIDDEN.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
