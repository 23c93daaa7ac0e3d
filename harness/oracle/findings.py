"""Findings of a run: grouped by scenario, invariant and kind, with ids that outlive the run."""

import hashlib
import re

from harness.core.records import PlanRecord
from harness.core.run_record import ExampleRecord, FindingRecord
from harness.core.verdict import Finding
from harness.oracle.case import Case

EXAMPLES_MAX = 20
_KEY = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")


class Reported:
    """Collects findings in the order of the plan, each once.

    The books are read whole after every scenario, so what one scenario broke is still broken
    after the next: the same finding again is carried over, and accuses only the first.
    """

    def __init__(self, plan: PlanRecord) -> None:
        self._plan = plan
        self._groups: dict[tuple[str, str, str], list[tuple[Finding, Case]]] = {}
        self._seen: dict[tuple[str, ...], str] = {}

    def add(self, case: Case, invariant: str, finding: Finding) -> str:
        """Take a finding; returns the earlier scenario that had it already, or nothing."""
        identity = (invariant, finding.key, finding.subject, finding.expected, finding.actual)
        first = self._seen.setdefault(identity, case.scenario)
        if first != case.scenario:
            return first
        group = self._groups.setdefault((case.scenario, invariant, finding.key), [])
        group.append((finding, case))
        return ""

    def findings(self) -> list[FindingRecord]:
        """The finding records, in the order in which they were first reported."""
        return [
            FindingRecord(
                id=finding_id(scenario, invariant, key),
                scenario=scenario,
                invariant=invariant,
                title=group[0][0].title,
                count=len(group),
                examples=_examples(group),
                replay=self._replay(scenario),
            )
            for (scenario, invariant, key), group in self._groups.items()
        ]

    def _replay(self, scenario: str) -> str:
        plan = self._plan
        stack = f" --stack {plan.stack}" if plan.stack != "embedded" else ""
        variant = f" --variant {plan.variant}" if plan.variant else ""
        return f"stormproof run {scenario} --seed {plan.seed}{stack}{variant}"


def finding_id(scenario: str, invariant: str, key: str) -> str:
    """The id that stays the same across runs; a key that is not kebab-case is hashed into it."""
    if not _KEY.match(key):
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        readable = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:40].strip("-")
        key = f"{readable}-{digest}" if readable else digest
    return f"{scenario}.{invariant}.{key}"


def _examples(group: list[tuple[Finding, Case]]) -> list[ExampleRecord]:
    """First, worst and last, then others in order."""
    examples = [(_at_ns(finding, case), finding) for finding, case in group]
    examples.sort(key=lambda pair: (pair[0] is None, pair[0] or 0))
    worst = max(range(len(examples)), key=lambda index: examples[index][1].weight)
    order = dict.fromkeys((0, worst, len(examples) - 1, *range(len(examples))))
    return [_example(*examples[index]) for index in list(order)[:EXAMPLES_MAX]]


def _example(at_ns: int | None, finding: Finding) -> ExampleRecord:
    return ExampleRecord(
        subject=finding.subject,
        operation=finding.operation,
        expected=finding.expected,
        actual=finding.actual,
        at_ms=None if at_ns is None else at_ns // 1_000_000,
        records=list(finding.records),
    )


def _at_ns(finding: Finding, case: Case) -> int | None:
    """When it happened, or when its operation was first sent."""
    if finding.at_ns is not None or not finding.operation:
        return finding.at_ns
    return case.sent_ns.get(finding.operation)
