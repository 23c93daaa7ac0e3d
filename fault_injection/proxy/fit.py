"""The fit table: which fault the real dependency, its client or the network can produce."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

TABLE: dict[str, dict] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_CLASSES = {
    protocol: {kind: name for name, kinds in part["messages"].items() for kind in kinds}
    for protocol, part in TABLE.items()
}


def classes(protocol: str) -> list[str]:
    """The classes that the messages of a protocol fall into."""
    return [*TABLE[protocol]["messages"], TABLE[protocol]["rest"]]


def message_class(protocol: str, kind: str) -> str:
    """The class of a message of this kind."""
    return _CLASSES[protocol].get(kind, TABLE[protocol]["rest"])


def errors(protocol: str) -> dict[str, dict[str, str]]:
    """The errors that a dependency of this protocol can answer with."""
    return TABLE[protocol]["errors"]


def row(protocol: str, fault: str, stream: str, error: str = "") -> dict[str, bool | str]:
    """Of one fault, by class of message: true, or why it is impossible."""
    rows = TABLE[protocol]["faults"]
    unknown = {"*": f"{protocol} has no such error"}
    found = rows.get(f"{fault} {stream}") or rows.get(f"{fault} {stream} {error}", unknown)
    rest = found.get("*")
    return {name: found.get(name, rest) for name in classes(protocol)}


@lru_cache(maxsize=4096)
def impossible(protocol: str, fault: str, stream: str, error: str, kind: str) -> str | None:
    """Why the fault fits no message of this kind, or of any kind; None when it fits."""
    cells = row(protocol, fault, stream, error)
    if kind:
        cell = cells[message_class(protocol, kind)]
        return None if cell is True else cell
    if any(cell is True for cell in cells.values()):
        return None
    return next(cell for cell in cells.values() if cell is not True)
