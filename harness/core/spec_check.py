"""What can be wrong in a `target.toml` beyond its types: names, references, placeholders."""

from collections import Counter
from collections.abc import Iterator
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core.target import TargetSpec

_IN_COMMANDS = {"python", "port", "data"}
_IN_TASKS = {"python"}
_IN_LINKS = {"host", "port", "user", "password", "database"}


def problems(spec: "TargetSpec") -> Iterator[str]:
    """Everything that is wrong, each in one sentence that names the place and the value."""
    processes = {process.name: process for process in spec.processes}
    stores = {store.name for store in spec.datastores}
    named = [each.name for each in (*spec.processes, *spec.datastores)]
    yield from _duplicates("process or datastore", named)
    yield from _duplicates("link", [link.name for link in spec.links])
    for entry in spec.entries:
        # A target that runs already has entries, and no processes of a stack's.
        if processes and entry not in processes:
            yield f"entry “{entry}” is no process (known: {_list(processes)})"
    for process in spec.processes:
        yield from _command(f"process “{process.name}”", process.command, _IN_COMMANDS)
        if process.ready and not process.listens:
            yield f"process “{process.name}” has a ready page but does not listen"
    for task in spec.tasks:
        yield from _command(f"task “{task.name}”", task.command, _IN_TASKS)
        for value in task.env.values():
            yield from _placeholders(f"task “{task.name}”", value, _IN_LINKS)
        if task.like not in processes:
            yield f"task “{task.name}” is like “{task.like}” (known: {_list(processes)})"
    for link in spec.links:
        sources = {*processes, "client"}
        if link.source not in sources:
            yield f"link “{link.name}” starts at “{link.source}” (known: {_list(sources)})"
        if link.to not in processes and link.to not in stores:
            yield f"link “{link.name}” leads to “{link.to}” (known: {_list([*processes, *stores])})"
        elif link.to in processes and not processes[link.to].listens:
            yield f"link “{link.name}” leads to “{link.to}”, which does not listen"
        yield from _placeholders(f"link “{link.name}”", link.value, _IN_LINKS)


def _duplicates(kind: str, names: list[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"the name “{name}” stands for more than one {kind}"


def _command(where: str, command: tuple[str, ...], known: set[str]) -> Iterator[str]:
    if not command:
        yield f"{where} has an empty command"
    for part in command:
        yield from _placeholders(where, part, known)


def _placeholders(where: str, text: str, known: set[str]) -> Iterator[str]:
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        yield f"{where}: “{text}” has unbalanced braces ({error})"
        return
    for name in sorted(names - known):
        yield f"{where}: unknown placeholder {{{name}}} (known: {_list(known)})"


def _list(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]
