"""What the engine tells its listeners: consoles, reports and CI are equals."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One thing that happened. `kind` is one of: plan, stack, steady, scenario, phase, operation,
    fault, proof, settle, sealed, problem. `data` holds plain values for people to read."""

    kind: str
    text: str
    data: dict[str, str | int] = field(default_factory=dict)


Listener = Callable[[Event], None]


class Announcer:
    """Hands events to every listener; a listener that fails must not end a run."""

    def __init__(self, listeners: list[Listener]) -> None:
        self._listeners = listeners

    def say(self, kind: str, text: str, **data: str | int) -> None:
        """Tell everybody."""
        event = Event(kind, text, dict(data))
        for listener in list(self._listeners):
            try:
                listener(event)
            except (Exception, SystemExit):  # noqa: BLE001
                # A broken display is no reason to stop measuring; a closed pipe exits.
                self._listeners.remove(listener)
