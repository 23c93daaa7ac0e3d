"""Faults: what is done to a target, how it is undone, and how it is proved to have bitten."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from harness.core.books import PartnerEvent
from harness.core.registry import Registry
from harness.core.stack import Proof, ProxyEvent, Stack, Unit

__all__ = ["Fault", "Observed", "Proof", "Stack", "fault", "faults"]


class Observed(Protocol):
    """What was seen while a fault was in place, for its proof."""

    def claims(self, toxic: str) -> Sequence[ProxyEvent]:
        """What the proxy says that this toxic did."""

    def server_log(self, name: str) -> str:
        """What a server or process wrote to its own log during the scenario."""

    def partner_events(self) -> Sequence[PartnerEvent]:
        """The partner's own journal during the scenario."""

    def units(self, trace: str) -> Sequence[Unit]:
        """The decoded exchange of one trace, in order."""

    def wall_ns(self, monotonic_ns: int) -> int:
        """The Unix time in nanoseconds of a monotonic time, to compare with a server's log."""


class Fault(Protocol):
    """One fault. `id` is unique in a scenario; `operation` is the one it is aimed at, if any."""

    id: str
    link: str
    operation: str

    def describe(self) -> Mapping[str, str]:
        """Its parameters, for the plan and the report."""

    def inject(self, stack: Stack) -> None:
        """Put it in place; raises `FaultError` when that cannot be confirmed."""

    def heal(self, stack: Stack) -> None:
        """Take it away; safe to call twice; raises `NotUndoneError` when it stays."""

    def proof(self, seen: Observed) -> Proof:
        """Whether it bit, from what the injector cannot write."""


faults: Registry[type] = Registry("fault")
F = TypeVar("F", bound=type)


def fault(name: str) -> Callable[[F], F]:
    """Register a fault class under a name; the first sentence of its docstring describes it."""

    def register(cls: F) -> F:
        cls.fault_name = name  # type: ignore[attr-defined]
        faults.add(name, cls, documented=cls)
        return cls

    return register
