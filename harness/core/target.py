"""The one door to a service under test: what a target implements is what can be done to it.

A target is a folder with `target.toml` (what runs, what is linked to what) and a Python file (its
door) with one class marked `@target`. The reference service uses this door like any stranger's.
Every type, decorator and error that a door needs is exported here.
"""

import importlib.util
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core.books import (
    Balance,
    Books,
    ChartOfAccounts,
    Effect,
    Lifecycle,
    PartnerEvent,
    PartnerOrder,
    Posting,
    Rules,
    Standing,
    Subject,
    Transition,
)
from harness.core.errors import HarnessError, StormproofError, UsageError
from harness.core.history import Operation, Outcome, Reading, Reply, Request, classify
from harness.core.spec_check import problems

__all__ = [
    "Balance",
    "Books",
    "ChartOfAccounts",
    "Clients",
    "Door",
    "Effect",
    "HarnessError",
    "Ledger",
    "Lifecycle",
    "Operation",
    "Outcome",
    "PartnerEvent",
    "PartnerOrder",
    "Posting",
    "Reading",
    "Reply",
    "Request",
    "Rules",
    "Standing",
    "StormproofError",
    "Subject",
    "TargetSpec",
    "Transition",
    "UsageError",
    "classify",
    "load_target",
    "target",
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatastoreSpec(_Model):
    """A server that the stack provides: its name and its kind."""

    name: str
    kind: Literal["postgres", "redis"]


class ProcessSpec(_Model):
    """A process of the target. `{python}` and `{port}` are filled in; `ready` is a path that
    answers 200 when the process can work; one without it is ready when the flows work. `secrets`
    names those of the door's secrets that the process gets."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = Field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    listens: bool = False
    ready: str = ""


class LinkSpec(_Model):
    """A directed connection: `source` is handed the address of a proxy in the variable `env`,
    written as `value` says (`{host}`, `{port}`, and for a database `{user}` …)."""

    name: str
    source: str
    to: str
    protocol: Literal["postgres", "redis", "http"]
    env: str = ""
    value: str = ""


class TaskSpec(_Model):
    """A command that runs once and ends, with the settings of process `like`, past every proxy.

    It starts when the database answers and the tasks before it have ended. One that is `early`
    waits for the database by itself, so that it may start at once, which saves its start-up time.
    It gets every secret of the door. In `env` the owner's way to the first PostgreSQL is filled in:
    `{host}`, `{port}`, `{user}`, `{password}`, `{database}`.
    """

    name: str
    command: tuple[str, ...]
    like: str
    early: bool = False
    env: dict[str, str] = Field(default_factory=dict)


class TargetSpec(_Model):
    """`target.toml`: everything a stack needs to start the target.

    `entries` are the processes that clients talk to; `steady` names workloads, in order, whose
    first journey must succeed before anything is broken.
    """

    name: str
    summary: str
    door: str = "target.py"
    interpreter: str
    source: tuple[str, ...]
    entries: tuple[str, ...]
    steady: tuple[str, ...] = ()
    settings: dict[str, str] = Field(default_factory=dict)
    datastores: tuple[DatastoreSpec, ...] = ()
    processes: tuple[ProcessSpec, ...] = ()
    links: tuple[LinkSpec, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    folder: Path = Path()

    @property
    def python(self) -> str:
        """The interpreter that runs the target's processes; a relative one is beside the TOML."""
        path = Path(self.interpreter)
        return str(path if path.is_absolute() else (self.folder / path).absolute())


class Clients(Protocol):
    """Turns operations into HTTP requests and replies into outcomes, without any I/O."""

    def request(self, operation: Operation, attempt: int) -> Request:
        """The request for the attempt of that number (from 0) of an operation."""

    def read(self, operation: Operation, reply: Reply) -> Reading:
        """What a reply means for the operation."""

    def final_read(self, operation: Operation) -> Operation:
        """What to ask at the end about an operation whose outcome no reply told.

        The outcome of the answer is taken as the operation's: ok if it happened, fail if it did
        not. It is a read, or the same operation with the same key, as an honest client repeats it.
        """


class Ledger(Protocol):
    """Reads the target's own books, and external ones, past every proxy."""

    def books(self, *, dsn: str, urls: Mapping[str, str]) -> Books:
        """All rows of one REPEATABLE READ snapshot, and the partner's journal.

        `dsn` is the database's address for psycopg; `urls` are the direct addresses of the
        processes that listen, by name.
        """


@runtime_checkable
class Door(Protocol):
    """What a class marked `@target` offers. Its constructor takes nothing."""

    clients: Clients
    ledger: Ledger
    rules: Rules

    def secrets(self, derive: Callable[[str], str]) -> dict[str, str]:
        """Environment of tasks, and of processes that name it, that must not be written anywhere;
        `derive` makes the bearer token of a name (`admin`), the same that clients will use."""

    def recovery_window_seconds(self, settings: Mapping[str, str]) -> float:
        """How long the target may take, by its own settings, to finish everything after a heal."""


D = TypeVar("D", bound=type)
_MARK = "__stormproof_target__"


def target(name: str) -> Callable[[D], D]:
    """Mark the one class of a door file; `name` must be the one in `target.toml`."""

    def mark(cls: D) -> D:
        setattr(cls, _MARK, name)
        return cls

    return mark


class Target:
    """A loaded target: its specification and its door."""

    def __init__(self, spec: TargetSpec, door: Door) -> None:
        self.spec = spec
        self.door = door


def load_target(folder: Path) -> Target:
    """Load a target from its folder.

    Raises `UsageError` when the folder, the TOML or the door is not as it should be.
    """
    path = folder / "target.toml"
    fix = "a target is a folder with target.toml and a door file; see docs/how-to/add-a-target.md"
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError("no target there", value=str(folder), where=str(error), fix=fix) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            "target.toml is not TOML", value=str(error), where=str(path), fix=fix
        ) from None
    try:
        spec = TargetSpec(**raw, folder=folder.absolute())
    except (ValidationError, TypeError) as error:
        raise UsageError(
            "target.toml is not valid", value=_problems(error), where=str(path), fix=fix
        ) from None
    if wrong := list(problems(spec)):
        raise UsageError(
            "target.toml is not valid", value="; ".join(wrong[:8]), where=str(path), fix=fix
        )
    return Target(spec, _load_door(spec))


def _problems(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return "; ".join(lines[:8])


def _load_door(spec: TargetSpec) -> Door:
    path = spec.folder / spec.door
    module_name = f"stormproof_target_{spec.name.replace('-', '_')}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    if module_spec is None or module_spec.loader is None or not path.exists():
        raise UsageError("the door file is missing", value=spec.door, where=str(spec.folder))
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(
            "the door file cannot be loaded",
            value=f"{type(error).__name__}: {error}",
            where=str(path),
            fix="it is Python of yours: run it with that interpreter and see",
        ) from None
    for value in vars(module).values():
        if isinstance(value, type) and getattr(value, _MARK, None) == spec.name:
            door = value()
            if not isinstance(door, Door):
                raise UsageError(
                    "the door lacks a part",
                    value=value.__name__,
                    where=str(path),
                    fix=f"it needs: {', '.join(sorted(Door.__protocol_attrs__))}"
                    if hasattr(Door, "__protocol_attrs__")
                    else "see Door",
                )
            return door
    raise UsageError(f"no class is marked @target(“{spec.name}”)", value=spec.door, where=str(path))
