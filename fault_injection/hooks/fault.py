"""What faults made of a hook have in common: armed, disarmed, and what the hook claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.errors import FaultError
from harness.core.fault import Observed, Proof, Stack
from harness.core.stack import HookEvent, Hooks


@dataclass(kw_only=True, eq=False)
class HookFault:
    """A hook at `point` for one `trace`, in the processes of a name. A subclass says how others can
    see that it bit: what a hook says of itself is no proof."""

    point: str
    trace: str = ""
    process: str = ""
    operation: str = ""
    term: str = ""
    _hooks: Hooks | None = field(default=None, repr=False)
    _arm: str = ""

    @property
    def id(self) -> str:
        """The fault's name in its scenario."""
        aim = self.trace[:12] or self.operation or self.process or "all"
        return f"hook-{self.point}-{aim}"

    @property
    def link(self) -> str:
        """Where it bites: a hook's injection point is a function, not a connection."""
        return self.point

    def describe(self) -> Mapping[str, str]:
        """Its parameters, for the plan and the report."""
        return {"trace": self.trace, "process": self.process, "term": self.term}

    def inject(self, stack: Stack) -> None:
        """Arm the hook."""
        if stack.hooks is None:
            raise FaultError(
                "this stack was started without hooks", value=self.point, where=stack.kind,
                fix="give the stack a HookController; see docs/how-to/use-hooks.md",
            )  # fmt: skip
        self._hooks = stack.hooks
        self._arm = self._hooks.arm(
            self.point, self.term, trace=self.trace, process=self.process
        )

    def heal(self, stack: Stack) -> None:
        """Disarm it, which lets go what it holds."""
        if self._hooks is not None:
            self._hooks.disarm(self._arm)

    def claims(self) -> Sequence[HookEvent]:
        """What the hook says that it did, before and after."""
        records = self._hooks.records() if self._hooks is not None else ()
        return [event for event in records if event.arm == self._arm]

    def proof(self, seen: Observed) -> Proof:
        """Whether it bit, by an observer that the hook cannot write."""
        raise NotImplementedError
