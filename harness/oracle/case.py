"""A case: everything the journal holds about one scenario, as the oracle reads it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from harness.core.books import (
    Balance,
    Books,
    PartnerEvent,
    PartnerOrder,
    Posting,
    Rules,
    Subject,
    Transition,
)
from harness.core.history import Outcome
from harness.core.journal import Record
from harness.core.records import (
    ExchangeRecord,
    FaultRecord,
    OperationRecord,
    ProofRecord,
    decode,
    rows,
)

TABLES: dict[str, type] = {
    "postings": Posting,
    "balances": Balance,
    "subjects": Subject,
    "transitions": Transition,
    "partner_orders": PartnerOrder,
    "partner_events": PartnerEvent,
}


@dataclass
class Case:
    """One scenario's evidence. `before` and `after` are whole snapshots of the target's books;
    `funded` are the operations that brought money in, of this and all earlier scenarios of the
    run, as the harness itself sent them; `record_of` finds an operation's journal record."""

    scenario: str
    rules: Rules = field(default_factory=Rules)
    operations: list[OperationRecord] = field(default_factory=list)
    all_operations: list[OperationRecord] = field(default_factory=list)
    before: Books = field(default_factory=Books)
    after: Books = field(default_factory=Books)
    faults: list[FaultRecord] = field(default_factory=list)
    proofs: list[ProofRecord] = field(default_factory=list)
    exchanges: list[ExchangeRecord] = field(default_factory=list)
    fingerprints: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    phases: list[tuple[str, str, int]] = field(default_factory=list)
    record_of: dict[str, int] = field(default_factory=dict)

    def under_load(self, *kinds: str, phase: str = "load") -> list[OperationRecord]:
        """The operations of a phase, of certain kinds where any are named."""
        return [
            record
            for record in self.operations
            if record.phase == phase and (not kinds or record.operation.kind in kinds)
        ]

    @cached_property
    def by_key(self) -> dict[tuple[str, str, str], list[OperationRecord]]:
        """Operations that share user, kind and idempotency key."""
        groups: dict[tuple[str, str, str], list[OperationRecord]] = defaultdict(list)
        for record in self.operations:
            if record.operation.key:
                op = record.operation
                groups[(op.user, op.kind, op.key)].append(record)
        return groups

    def records_of(self, records: Iterable[OperationRecord]) -> tuple[int, ...]:
        """Sequence numbers in the journal of some operations."""
        return tuple(
            self.record_of[r.operation.id] for r in records if r.operation.id in self.record_of
        )

    def targeted_traces(self) -> set[str]:
        """Traces that a fault was aimed at."""
        return {fault.parameters["trace"] for fault in self.faults if fault.parameters.get("trace")}

    def unresolved(self) -> list[OperationRecord]:
        """Operations whose outcome nobody knows, after the final reads."""
        return [r for r in self.operations if r.outcome is Outcome.INFO]


def cases(records: Iterable[Record]) -> Iterator[Case]:
    """The cases of a journal, in the order in which their scenarios ran."""
    builder = _Builder()
    for record in records:
        builder.take(record)
    yield from builder.finish()


class _Builder:
    """Sorts records into cases."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.rules = Rules()
        self.fingerprints: dict[int, str] = {}
        self.all_operations: list[OperationRecord] = []
        self._tables: dict[tuple[str, str], dict[str, list[object]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def _case(self, name: str) -> Case:
        if name not in self.cases:
            self.cases[name] = Case(name)
        return self.cases[name]

    def take(self, record: Record) -> None:
        """Add one record to the case that it belongs to."""
        handler = getattr(self, f"_take_{record.type}", None)
        if handler is not None:
            handler(record)

    def _take_rules(self, record: Record) -> None:
        self.rules = decode(Rules, record.data)

    def _take_fingerprint(self, record: Record) -> None:
        self.fingerprints[int(str(record.data["number"]))] = str(record.data["text"])

    def _take_operation(self, record: Record) -> None:
        value = decode(OperationRecord, record.data)
        case = self._case(value.scenario)
        case.operations.append(value)
        case.record_of[value.operation.id] = record.seq
        self.all_operations.append(value)

    def _take_phase(self, record: Record) -> None:
        case = self._case(str(record.data["scenario"]))
        case.phases.append((str(record.data["phase"]), str(record.data["event"]), record.at_ns))

    def _take_fault(self, record: Record) -> None:
        value = decode(FaultRecord, record.data)
        self._case(value.scenario).faults.append(value)

    def _take_proof(self, record: Record) -> None:
        value = decode(ProofRecord, record.data)
        self._case(value.scenario).proofs.append(value)

    def _take_exchange(self, record: Record) -> None:
        value = decode(ExchangeRecord, record.data)
        self._case(value.scenario).exchanges.append(value)

    def _take_problem(self, record: Record) -> None:
        self._case(str(record.data["scenario"])).problems.append(str(record.data["what"]))

    def _take_books(self, record: Record) -> None:
        data = record.data
        name = str(data["table"])
        key = (str(data["scenario"]), str(data["moment"]))
        self._tables[key][name].extend(rows(TABLES[name], data["rows"]))  # type: ignore[arg-type]

    def finish(self) -> Iterator[Case]:
        """Complete every case with what the whole run shares."""
        for (scenario, moment), tables in self._tables.items():
            if scenario in self.cases:
                books = Books(**{name: tuple(found) for name, found in tables.items()})  # type: ignore[arg-type]
                setattr(self.cases[scenario], moment, books)
        seen: list[OperationRecord] = []
        for case in self.cases.values():
            seen.extend(case.operations)
            case.all_operations = list(seen)
            case.rules, case.fingerprints = self.rules, self.fingerprints
            yield case
