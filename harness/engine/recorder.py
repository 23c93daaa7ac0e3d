"""Writes what a scenario sees into the journal: operations, exchanges, books, faults, proofs."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields

from harness.core.books import Books
from harness.core.fault import Fault, Proof
from harness.core.history import Completed
from harness.core.journal import Journal
from harness.core.records import (
    ExchangeRecord,
    FaultRecord,
    OperationRecord,
    ProofRecord,
    ResolutionRecord,
    encode,
    table,
)
from harness.core.stack import Unit

_ROWS_PER_RECORD = 500
_TABLES = tuple(f.name for f in fields(Books) if f.name != "snapshot")


class Recorder:
    """The one writer of a run's journal, with the run's table of message fingerprints."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._fingerprints: dict[str, int] = {}

    def write(self, type: str, value: object) -> int:
        """Write any value as a record of that type."""
        return self.journal.write(type, encode(value, start_ns=self.journal.start_ns))

    def phase(
        self, scenario: str, phase: str, event: str, *, operations: int | None = None
    ) -> None:
        """A phase begins or ends, after so many operations where clients did any."""
        data: dict[str, str | int] = {"scenario": scenario, "phase": phase, "event": event}
        self.write("phase", data if operations is None else data | {"operations": operations})

    def operation(self, scenario: str, phase: str, completed: Completed) -> None:
        """One operation with all its attempts."""
        self.write(
            "operation",
            OperationRecord(
                scenario,
                phase,
                completed.operation,
                completed.outcome,
                completed.reading.subject,
                completed.attempts,
            ),
        )

    def fault(self, scenario: str, fault: Fault, event: str) -> None:
        """A step in the life of a fault, written before (`intent`) or after the fact."""
        name = str(getattr(type(fault), "fault_name", type(fault).__name__))
        parameters = dict(fault.describe())
        self.write(
            "fault",
            FaultRecord(scenario, fault.id, name, fault.link, fault.operation, event, parameters),
        )

    def proof(self, scenario: str, fault: Fault, proof: Proof) -> None:
        """Whether a fault bit."""
        evidence = dict(proof.evidence)
        self.write(
            "proof",
            ProofRecord(scenario, fault.id, proof.bit, proof.observer, evidence, proof.at_ns),
        )

    def resolution(self, resolution: ResolutionRecord) -> None:
        """What a final read says of an unknown outcome."""
        self.write("resolution", resolution)

    def problem(self, scenario: str, what: str) -> None:
        """Something that makes a pass impossible to support."""
        self.write("problem", {"scenario": scenario, "what": what})

    def exchanges(self, scenario: str, phase: str, units: Sequence[Unit], traces: set[str]) -> int:
        """The decoded messages of known traces, one record a trace and link; returns how many."""
        groups: dict[tuple[str, str], list[Unit]] = defaultdict(list)
        for unit in units:
            if unit.trace in traces:
                groups[(unit.trace, unit.link)].append(unit)
        for (trace, link), found in sorted(groups.items()):
            found.sort(key=lambda unit: (unit.request_ns, unit.seq))
            record = ExchangeRecord(
                scenario,
                phase,
                trace,
                link,
                tuple(self._fingerprint(unit) for unit in found),
                min(unit.request_ns for unit in found),
                max(unit.reply_ns for unit in found),
            )
            self.write("exchange", record)
        return sum(len(found) for found in groups.values())

    def _fingerprint(self, unit: Unit) -> int:
        text = f"{unit.kind} {unit.fingerprint}".strip()
        if text not in self._fingerprints:
            self._fingerprints[text] = len(self._fingerprints)
            self.write("fingerprint", {"number": self._fingerprints[text], "text": text})
        return self._fingerprints[text]

    def books(self, scenario: str, moment: str, books: Books) -> None:
        """A whole snapshot, in parts, then the record that says that it is whole."""
        for name in _TABLES:
            rows = getattr(books, name)
            for start in range(0, len(rows), _ROWS_PER_RECORD):
                part = rows[start : start + _ROWS_PER_RECORD]
                content = table(part, start_ns=self.journal.start_ns)
                data = {"scenario": scenario, "moment": moment, "table": name}
                self.journal.write("books", {**data, **content})
        counts = {name: len(getattr(books, name)) for name in _TABLES}
        data = {"scenario": scenario, "moment": moment, "snapshot": books.snapshot}
        self.journal.write("snapshot", {**data, "counts": counts})


def unfinished(books: Books) -> list[str]:
    """The business rows that something still has to drive, for people to read."""
    return [
        f"{subject.kind} {subject.id} {subject.state}"
        for subject in books.subjects
        if not subject.terminal and not subject.resting
    ]
