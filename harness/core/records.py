"""What the journal holds: the record types, and how values become records and back.

| type | one per | data |
|---|---|---|
| `plan` | run | a `PlanRecord`: everything that was decided before anything ran |
| `rules` | run | the target's `Rules` |
| `process` | event | a process of the stack started, died or was restarted |
| `phase` | begin and end | scenario, phase name, event; at the end `operations`, if counted |
| `operation` | operation | an `OperationRecord`: no secret, every attempt |
| `fault` | event | a `FaultRecord`: `intent`, `applied`, `healed` |
| `proof` | fault | a `ProofRecord` |
| `fingerprint` | text | the number that stands for a message's kind and fingerprint |
| `exchange` | trace and link | an `ExchangeRecord`: the numbers of its messages, in order |
| `books` | part of a snapshot | scenario, moment (`before`, `after`), table, columns, rows |
| `snapshot` | snapshot | scenario, moment, snapshot, `counts` of rows by table: it is whole |
| `resolution` | unknown outcome | a `ResolutionRecord`: what the final reads say of it |
| `problem` | event | scenario (empty: all), what makes a pass impossible to support |
| `interrupted` | run | the exit code (130, 143), the reason |
| `harness` | run | what, value, where, fix: an error of ours that ended the run |
| `seal` | run | the number of records |

Fields named `…_minor` are decimal strings in the journal and integers in memory; fields named
`…_ns` count from the start of the run; a Unix time among them is a decimal string.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter

from harness.core.history import Attempt, Operation, Outcome
from harness.core.journal import Data

T = TypeVar("T")
# Later than any monotonic clock, earlier than any Unix time since 2001.
_UNIX_NS = 10**18
_adapters: dict[type, TypeAdapter[Any]] = {}


@dataclass(frozen=True)
class FaultPlan:
    """A fault as it was planned."""

    id: str
    name: str
    link: str
    operation: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class LoadPlan:
    """What clients were to do."""

    workload: str
    clients: int
    driver: str
    count: int


@dataclass(frozen=True)
class ScenarioPlan:
    """A scenario as it was planned; `invariants` are names. With fewer operations under load than
    `operations_min` nothing is shown."""

    name: str
    summary: str
    invariants: tuple[str, ...]
    faults: tuple[FaultPlan, ...]
    load: LoadPlan
    question: str = ""
    operations_min: int = 0


@dataclass(frozen=True)
class PlanRecord:
    """Everything that was decided before anything ran; `unused_…` are names left out."""

    run_id: str
    seed: int
    profile: str
    target: str
    stack: str
    command: str
    started_at: str
    recovery_window_ms: int
    scenarios: tuple[ScenarioPlan, ...]
    variant: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    unused_scenarios: tuple[str, ...] = ()
    unused_faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class OperationRecord:
    """An operation as the journal keeps it. `phase` is where it was sent."""

    scenario: str
    phase: str
    operation: Operation
    outcome: Outcome
    subject: str
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class ExchangeRecord:
    """The decoded messages of one trace on one link, as numbers of fingerprints."""

    scenario: str
    phase: str
    trace: str
    link: str
    units: tuple[int, ...]
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class FaultRecord:
    """One step in the life of a fault: `intent` before, `applied` and `healed` after the fact."""

    scenario: str
    fault: str
    name: str
    link: str
    operation: str
    event: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class ProofRecord:
    """Whether a fault bit, who saw it, what was seen, and when (0 when nobody can tell)."""

    scenario: str
    fault: str
    bit: bool
    observer: str
    evidence: dict[str, str]
    at_ns: int = 0


@dataclass(frozen=True)
class ResolutionRecord:
    """What final reads say about an operation whose outcome no reply told."""

    scenario: str
    operation: str
    outcome: Outcome
    subject: str
    how: str


def encode(value: object, *, start_ns: int = 0) -> Any:
    """A dataclass as plain JSON data: amounts as strings, times from `start_ns`, no secrets."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.repr}
        return {name: _encode_field(name, item, start_ns) for name, item in pairs.items()}
    if isinstance(value, dict):
        return {str(name): _encode_field(str(name), item, start_ns) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item, start_ns=start_ns) for item in value]
    return value


def _encode_field(name: str, item: object, start_ns: int) -> Any:
    if name.endswith("_minor") and isinstance(item, int):
        return str(item)
    if name.endswith("_ns") and isinstance(item, int) and item:
        return str(item) if item >= _UNIX_NS else item - start_ns
    return encode(item, start_ns=start_ns)


def decode(kind: type[T], data: object) -> T:
    """The dataclass that `encode` was given, with times left relative."""
    adapter = _adapters.get(kind)
    if adapter is None:
        adapter = _adapters[kind] = TypeAdapter(kind)
    return adapter.validate_python(data)


def table(rows: object, *, start_ns: int = 0) -> Data:
    """Rows of one dataclass type as columns and values, which is half as long."""
    encoded = encode(rows, start_ns=start_ns)
    columns = list(encoded[0]) if encoded else []
    return {"columns": columns, "rows": [list(row.values()) for row in encoded]}


def rows(kind: type[T], data: Data) -> list[T]:
    """The rows that `table` was given."""
    columns = decode(list[str], data["columns"])
    values = decode(list[list[object]], data["rows"])
    pairs = [dict(zip(columns, row, strict=True)) for row in values]
    return decode(list[kind], pairs)  # type: ignore[valid-type]
