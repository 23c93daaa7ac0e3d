"""Where a hook is attached: `package.module:function@entry`, `module:Class.method@exit`."""

from dataclasses import dataclass

from harness.core.errors import UsageError, unknown_name

EVENTS = ("entry", "exit", "raise")


@dataclass(frozen=True)
class Point:
    """A function by the module and name under which it is written, and when its hook fires."""

    module: str
    qualname: str
    event: str

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}@{self.event}"


def parse_point(text: str) -> Point:
    """The point that a text names; raises `UsageError` when it names none."""
    name, _, event = text.partition("@")
    module, _, qualname = name.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *qualname.split(".")]):
        raise UsageError(
            "not a hook's point",
            value=text[:200],
            fix="write package.module:function@entry, or module:Class.method@exit",
        )
    if event not in EVENTS:
        raise unknown_name("event", event, EVENTS, where=f"the point “{text[:200]}”")
    return Point(module, qualname, event)
