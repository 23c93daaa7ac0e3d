"""What every kind of stack is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.stack import Hooks
from harness.stacks.processes import OnEvent
from harness.stacks.variant import Edit


@dataclass(frozen=True)
class StackOptions:
    """The run's id and seed, the proxy's command, the variant's edits.

    `proxy_argv` is a command that takes `-host` and `-port`; the composition root names it.
    Each part of the stack must be ready within `ready_seconds`. `settings` are added to the
    target's own. With `direct`, nobody is sent through a proxy, which is what benches compare with.
    With `hooks`, the target's Python processes are started so that hooks reach them.
    """

    run_id: str
    seed: int
    proxy_argv: Sequence[str]
    edits: Sequence[Edit] = ()
    on_event: OnEvent | None = None
    ready_seconds: float = 45.0
    direct: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    hooks: Hooks | None = None
