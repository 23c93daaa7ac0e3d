"""What a running target offers to the rest: addresses, proxies, processes, logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.core.target import Target

Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class Unit:
    """One decoded request with its reply, as a proxy saw it. Times are monotonic nanoseconds;
    `trace` is empty for shared messages, `upstream_port` is the proxy's own port at the server."""

    seq: int
    link: str
    connection: int
    kind: str
    fingerprint: str
    trace: str
    request_ns: int
    reply_ns: int
    status: str
    upstream_port: int = 0


@dataclass(frozen=True)
class ProxyEvent:
    """What a proxy says it did. A claim of the injector, never the proof."""

    seq: int
    at_ns: int
    link: str
    toxic: str
    action: str
    trace: str
    kind: str
    upstream_port: int
    client_port: int


@dataclass(frozen=True)
class ProcessState:
    """A process of the stack, known by pid and start time."""

    name: str
    pid: int
    started_ns: int
    restarts: int = 0


@dataclass(frozen=True)
class HookEvent:
    """What a hook says that it did: a claim of the injector, never the proof.

    Each firing has two, `before` (written before the process goes on) and `after`; other kinds are
    `refused`, `unresolved` and `expired`. The kernel names the process: pid and start time.
    """

    seq: int
    at_ns: int
    kind: str
    arm: str
    firing: int
    point: str
    process: str
    pid: int
    started: str
    trace: str
    action: str
    outcome: str = ""
    shared: bool = False


class Hooks(Protocol):
    """The hooks of a stack's Python processes."""

    def environment(
        self, process: str, env: Mapping[str, str], *, mounted: bool = False
    ) -> Mapping[str, str]:
        """The environment with which a process must be started for hooks to reach it; with
        `mounted` it finds what it needs where `mounts` says."""

    def mounts(self) -> Mapping[Path, str]:
        """The folders that a container needs, read-only, and where it must find them."""

    def arm(self, point: str, term: str, *, trace: str = "", process: str = "") -> str:
        """Arm a hook and give its id; raises `UsageError` or `FaultError` when that fails."""

    def disarm(self, arm_id: str) -> None:
        """Disarm it and let go what it holds; raises `NotUndoneError` if it stays."""

    def release(self, arm_id: str = "", *, firing: int = 0) -> int:
        """Let go what pauses; gives how many."""

    def records(self, after: int = 0) -> Sequence[HookEvent]:
        """What hooks did since position `after`."""


class Proxies(Protocol):
    """The fault proxies of a stack, one per link. Every change is read back."""

    def add_toxic(
        self, link: str, *, name: str, type: str, stream: str, attributes: Attributes
    ) -> None:
        """Put a toxic on a link; raises `FaultError` unless the proxy then reports it."""

    def remove_toxic(self, link: str, name: str) -> None:
        """Take a toxic off; a missing one is fine; raises `NotUndoneError` if it stays."""

    def toxics(self, link: str) -> Sequence[str]:
        """Names of the toxics on a link."""

    def reset(self) -> None:
        """Remove every toxic and enable every proxy; raises `NotUndoneError` if one stays."""

    def units(self, after: int) -> tuple[Sequence[Unit], int]:
        """Decoded units that ended since position `after`, and the new position.

        Raises `HarnessError` when the proxy had to drop some.
        """

    def events(self, after: int) -> tuple[Sequence[ProxyEvent], int]:
        """What toxics did since position `after`, and the new position."""


class Child(Protocol):
    """A started process, as `subprocess.Popen` offers it."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""


class Stack(Protocol):
    """The running processes of a target and its dependencies."""

    kind: str
    run_id: str
    target: Target
    settings: Mapping[str, str]
    secrets: Mapping[str, str]
    proxies: Proxies
    hooks: Hooks | None

    def up(self) -> None:
        """Start everything; raises `SteadyStateError` when something does not become ready."""

    def down(self) -> None:
        """End everything that this stack started; safe to call twice."""

    def entry_url(self, entry: str) -> str:
        """Where clients reach an entry: through its proxy."""

    def direct_urls(self) -> Mapping[str, str]:
        """The addresses of listening processes past every proxy."""

    def dsn(self) -> str:
        """The database past every proxy, for the books; empty for a target without one."""

    def processes(self) -> Sequence[ProcessState]:
        """The processes that run now."""

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int], log: Path
    ) -> Child:
        """Start a helper process of the harness that ends with the stack."""

    def log_names(self) -> Sequence[str]:
        """Names of the logs that there are."""

    def log(self, name: str, *, offset: int = 0) -> tuple[str, int]:
        """The text of a process's or server's log from a byte offset on, and its new end."""


@dataclass(frozen=True)
class Proof:
    """Whether a fault bit, by an observer that the injector cannot write."""

    bit: bool
    observer: str
    evidence: Mapping[str, str] = field(default_factory=dict)
    at_ns: int = 0
