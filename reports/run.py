"""A run directory as sections and formats read it: `run.json`, and the journal beside it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from harness.core import journal
from harness.core.clock import utc_text
from harness.core.errors import EvidenceError, HarnessError
from harness.core.records import OperationRecord, decode
from harness.core.run_record import (
    ExampleRecord,
    FaultSummary,
    FindingRecord,
    RunRecord,
    ScenarioRecord,
)

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.ndjson"
_KINDS_BY_WEIGHT = ("safety", "liveness", "control")


@dataclass(frozen=True)
class JournalFacts:
    """What the journal says of itself; `types` holds each record's type, by number."""

    present: bool = False
    types: tuple[str, ...] = ()
    head: str = ""
    sealed: bool = False


@dataclass(frozen=True)
class Run:
    """One run, loaded and checked; everything that a section may know."""

    record: RunRecord
    journal: JournalFacts = field(default_factory=JournalFacts)
    operations: Mapping[str, OperationRecord] = field(default_factory=dict)
    record_of: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def findings(self) -> tuple[FindingRecord, ...]:
        """Worst first: safety before liveness, then the most frequent, then as recorded."""
        return tuple(sorted(self.record.findings, key=self._weight))

    def _weight(self, finding: FindingRecord) -> tuple[int, int]:
        kind = self.kind_of(finding)
        known = kind in _KINDS_BY_WEIGHT
        return (_KINDS_BY_WEIGHT.index(kind) if known else len(_KINDS_BY_WEIGHT), -finding.count)

    def kind_of(self, finding: FindingRecord) -> str:
        """`safety`, `liveness` or `control`: the kind of the invariant that a finding breaks."""
        scenario = next((s for s in self.record.scenarios if s.name == finding.scenario), None)
        invariants = scenario.invariants if scenario else []
        return next((i.kind for i in invariants if i.name == finding.invariant), "")

    @cached_property
    def faults(self) -> tuple[tuple[ScenarioRecord, FaultSummary], ...]:
        """Every fault of the run with its scenario."""
        return tuple((s, fault) for s in self.record.scenarios for fault in s.faults)

    @cached_property
    def _by_subject(self) -> Mapping[tuple[str, str], OperationRecord]:
        """The operation that moved each subject's money: the last one with an amount wins."""
        found: dict[tuple[str, str], OperationRecord] = {}
        for record in self.operations.values():
            if record.subject and record.operation.amount_minor:
                found[record.scenario, record.subject] = record
        return found

    def operation_behind(
        self, finding: FindingRecord, example: ExampleRecord
    ) -> OperationRecord | None:
        """The operation that an example names, by its id, its records or its subject."""
        named = self.operations.get(example.operation)
        if named is None:
            wanted = set(example.records)
            named = next(
                (self.operations[i] for i, seq in self.record_of.items() if seq in wanted), None
            )
        return named or self._about(finding.scenario, example.subject)

    def _about(self, scenario: str, subject: str) -> OperationRecord | None:
        """The operation on a subject, which a finding may name with words around the id."""
        found = (self._by_subject.get((scenario, word)) for word in subject.split())
        return next((record for record in found if record is not None), None)

    def amount_behind(self, finding: FindingRecord, example: ExampleRecord) -> tuple[int, str]:
        """Amount in minor units and currency of an example's transfer; `(0, "")` if unknown."""
        record = self.operation_behind(finding, example)
        if record is not None and not record.operation.amount_minor:
            record = self._about(finding.scenario, f"{example.subject} {record.subject}")
        return (record.operation.amount_minor, record.operation.currency) if record else (0, "")

    def in_scenario(self, name: str) -> Iterator[OperationRecord]:
        """The operations of one scenario, in the journal's order."""
        return (record for record in self.operations.values() if record.scenario == name)

    def utc(self, at_ms: int) -> str:
        """The wall-clock time of a moment of the run, or nothing when the start is not known."""
        try:
            start = datetime.fromisoformat(self.record.started_at)
        except ValueError:
            return ""
        start = start if start.tzinfo else start.replace(tzinfo=UTC)
        return utc_text(start + timedelta(milliseconds=at_ms))


def load(run_dir: Path) -> Run:
    """Read a run directory; raises `HarnessError` without a readable `run.json`.

    A missing journal is allowed, since a run may stop before it has one; a damaged journal raises
    `EvidenceError`.
    """
    path = run_dir / RUN_FILE
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise HarnessError(
            "there is no run to report",
            value=RUN_FILE,
            where=str(run_dir),
            fix="name a directory below runs/ that holds a run.json",
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise EvidenceError(
            "run.json is not a record of a run",
            value=f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}",
            where=str(path),
            fix="use the version of stormproof that wrote it, or run `stormproof analyze`",
        ) from None
    source = run_dir / JOURNAL_FILE
    return _with_journal(record, source) if source.exists() else Run(record)


def _with_journal(record: RunRecord, path: Path) -> Run:
    types: list[str] = []
    operations: dict[str, OperationRecord] = {}
    record_of: dict[str, int] = {}
    head = ""
    for line in journal.read(path):
        types.append(line.type)
        head = line.hash
        if line.type == "operation":
            operation = decode(OperationRecord, line.data)
            operations[operation.operation.id] = operation
            record_of[operation.operation.id] = line.seq
    sealed = bool(types) and types[-1] == journal.SEAL
    return Run(record, JournalFacts(True, tuple(types), head, sealed), operations, record_of)


def slug(text: str) -> str:
    """A text as part of an anchor or a file name: stable, and safe in both."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"
