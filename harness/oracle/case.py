"""A case: everything the journal holds about one scenario, as the oracle reads it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydantic import ValidationError

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
from harness.core.errors import EvidenceError
from harness.core.history import Outcome
from harness.core.journal import Record
from harness.core.records import (
    ExchangeRecord,
    FaultRecord,
    OperationRecord,
    ProofRecord,
    ResolutionRecord,
    decode,
    rows,
)
from harness.oracle.ledger import Transaction, transactions

TABLES: dict[str, type] = {
    "postings": Posting,
    "balances": Balance,
    "subjects": Subject,
    "transitions": Transition,
    "partner_orders": PartnerOrder,
    "partner_events": PartnerEvent,
}
SETTLE = "settle"


@dataclass
class Case:
    """One scenario's evidence. `before` and `after` are whole snapshots of the target's books;
    `all_operations` are those of the whole run that were over when `after` was taken, with the
    outcomes that final reads resolved; `record_of` finds an operation's journal record, `resolved`
    the record that resolved it; `fault_times` has when each event of a fault was journalled,
    `counted` how many operations a phase had according to who ran it."""

    scenario: str
    rules: Rules = field(default_factory=Rules)
    operations: list[OperationRecord] = field(default_factory=list)
    all_operations: list[OperationRecord] = field(default_factory=list)
    before: Books = field(default_factory=Books)
    after: Books = field(default_factory=Books)
    moments: set[str] = field(default_factory=set)
    faults: list[FaultRecord] = field(default_factory=list)
    fault_times: dict[str, dict[str, int]] = field(default_factory=dict)
    proofs: list[ProofRecord] = field(default_factory=list)
    exchanges: list[ExchangeRecord] = field(default_factory=list)
    fingerprints: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    phases: list[tuple[str, str, int]] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    record_of: dict[str, int] = field(default_factory=dict)
    resolved: dict[str, int] = field(default_factory=dict)

    def under_load(self, *kinds: str, phase: str = "load") -> list[OperationRecord]:
        """The operations of a phase, of certain kinds where any are named."""
        return [
            record
            for record in self.operations
            if record.phase == phase and (not kinds or record.operation.kind in kinds)
        ]

    @cached_property
    def by_key(self) -> dict[tuple[str, str, str, str], list[OperationRecord]]:
        """Operations that share user, kind, idempotency key and payload."""
        groups: dict[tuple[str, str, str, str], list[OperationRecord]] = defaultdict(list)
        for record in self.operations:
            if record.operation.key:
                op = record.operation
                payload = f"{op.amount_minor} {op.currency} {sorted(op.params.items())}"
                groups[(op.user, op.kind, op.key, payload)].append(record)
        return groups

    @cached_property
    def subjects(self) -> dict[tuple[str, str], Subject]:
        """The business rows at the end, by kind and id."""
        return {(subject.kind, subject.id): subject for subject in self.after.subjects}

    @cached_property
    def about(self) -> dict[str, list[OperationRecord]]:
        """The operations of the run by the id of the business row that they are about."""
        found: dict[str, list[OperationRecord]] = defaultdict(list)
        for record in self.all_operations:
            if record.subject:
                found[record.subject].append(record)
        return found

    @cached_property
    def transactions(self) -> list[Transaction]:
        """The ledger at the end, transaction by transaction."""
        return transactions(self.after)

    @cached_property
    def exchanges_of(self) -> dict[str, list[ExchangeRecord]]:
        """Decoded exchanges by trace, in the order in which they began."""
        found: dict[str, list[ExchangeRecord]] = defaultdict(list)
        for exchange in sorted(self.exchanges, key=lambda e: (e.first_ns, e.link)):
            found[exchange.trace].append(exchange)
        return found

    @cached_property
    def sent_ns(self) -> dict[str, int]:
        """When each operation was first sent, by its id."""
        return {r.operation.id: r.attempts[0].sent_ns for r in self.all_operations if r.attempts}

    def records_of(self, records: Iterable[OperationRecord]) -> tuple[int, ...]:
        """Sequence numbers in the journal of some operations and of what resolved them."""
        found: list[int] = []
        for record in records:
            for index in (self.record_of, self.resolved):
                if record.operation.id in index:
                    found.append(index[record.operation.id])
        return tuple(found)

    def targeted_traces(self) -> set[str]:
        """Traces that a fault was aimed at."""
        return {fault.parameters["trace"] for fault in self.faults if fault.parameters.get("trace")}

    def unresolved(self) -> list[OperationRecord]:
        """Operations whose outcome nobody knows, after the final reads."""
        return [r for r in self.operations if r.outcome is Outcome.INFO]

    def not_undone(self) -> list[str]:
        """Ids of the faults that were applied and never healed."""
        return [
            fault
            for fault, times in self.fault_times.items()
            if "applied" in times and "healed" not in times
        ]

    @cached_property
    def quiet(self) -> bool:
        """Whether all was healed and the recovery window ended, so that what is still missing in
        the books is missing for good."""
        settled = any(phase == SETTLE and event == "end" for phase, event, _ in self.phases)
        return settled and not self.not_undone()


def cases(records: Iterable[Record]) -> list[Case]:
    """The cases of a journal, in the order in which their scenarios ran.

    Raises `EvidenceError` for a record that does not have the fields of its type.
    """
    builder = _Builder()
    for record in records:
        try:
            builder.take(record)
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise EvidenceError(
                f"a record of type “{record.type}” lacks the fields of its type",
                value=repr(error)[:300],
                where=f"record {record.seq}",
            ) from None
    return builder.finish()


class _Builder:
    """Sorts records into cases."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.rules = Rules()
        self.fingerprints: dict[int, str] = {}
        self.resolutions: dict[str, ResolutionRecord] = {}
        self.problems: list[str] = []
        self._operations: list[tuple[int, OperationRecord]] = []
        self._after_seq: dict[str, int] = {}
        self._tables: dict[tuple[str, str], dict[str, list[object]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def _case(self, name: object) -> Case:
        return self.cases.setdefault(str(name), Case(str(name)))

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
        self._operations.append((record.seq, value))

    def _take_resolution(self, record: Record) -> None:
        value = decode(ResolutionRecord, record.data)
        if value.outcome is not Outcome.INFO:
            self.resolutions[value.operation] = value
            self._case(value.scenario).resolved[value.operation] = record.seq

    def _take_phase(self, record: Record) -> None:
        phase, event = str(record.data["phase"]), str(record.data["event"])
        case = self._case(record.data["scenario"])
        case.phases.append((phase, event, record.at_ns))
        if "operations" in record.data:
            case.counted[phase] = int(str(record.data["operations"]))

    def _take_fault(self, record: Record) -> None:
        value = decode(FaultRecord, record.data)
        case = self._case(value.scenario)
        case.faults.append(value)
        case.fault_times.setdefault(value.fault, {})[value.event] = record.at_ns

    def _take_proof(self, record: Record) -> None:
        value = decode(ProofRecord, record.data)
        self._case(value.scenario).proofs.append(value)

    def _take_exchange(self, record: Record) -> None:
        value = decode(ExchangeRecord, record.data)
        self._case(value.scenario).exchanges.append(value)

    def _take_problem(self, record: Record) -> None:
        text = str(record.data["what"])
        scenario = record.data.get("scenario")
        (self._case(scenario).problems if scenario else self.problems).append(text)

    def _take_books(self, record: Record) -> None:
        data = record.data
        name = str(data["table"])
        found = self._tables[(str(data["scenario"]), str(data["moment"]))]
        found[name].extend(rows(TABLES[name], data))

    def _take_snapshot(self, record: Record) -> None:
        """Accept the parts as one snapshot, if all of them are there."""
        data = record.data
        case, moment = self._case(data["scenario"]), str(data["moment"])
        tables = self._tables.pop((case.scenario, moment), {})
        counts: dict[str, int] = decode(dict[str, int], data["counts"])
        missing = [name for name in counts if counts[name] != len(tables.get(name, ()))]
        if missing:
            raise ValueError(f"rows of {', '.join(missing)} are missing in “{moment}”")
        books = Books(
            **{name: tuple(found) for name, found in tables.items()},  # type: ignore[arg-type]
            snapshot=str(data.get("snapshot", "")),
        )
        setattr(case, {"before": "before", "after": "after"}[moment], books)
        case.moments.add(moment)
        if moment == "after":
            self._after_seq[case.scenario] = record.seq

    def _resolve(self, record: OperationRecord) -> OperationRecord:
        found = self.resolutions.get(record.operation.id)
        if found is None or record.outcome is not Outcome.INFO:
            return record
        return replace(record, outcome=found.outcome, subject=found.subject or record.subject)

    def finish(self) -> list[Case]:
        """Complete every case with what the whole run shares."""
        operations = [(seq, self._resolve(record)) for seq, record in self._operations]
        record_of = {record.operation.id: seq for seq, record in operations}
        for case in self.cases.values():
            case.operations = [self._resolve(record) for record in case.operations]
            end = self._after_seq.get(case.scenario)
            case.all_operations = [r for seq, r in operations if end is None or seq < end]
            case.rules, case.fingerprints = self.rules, self.fingerprints
            case.record_of = record_of
            case.problems += self.problems
        return list(self.cases.values())
