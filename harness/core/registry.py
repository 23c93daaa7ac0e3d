"""Registries: one decorator adds a thing; discovery lists a folder and imports on use."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.core.errors import HarnessError, unknown_name

T = TypeVar("T")
_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered thing with its name and the first sentence of its docstring."""

    name: str
    summary: str
    value: T
    module: str
    doc: str


class Registry(Generic[T]):
    """All things of one kind, by name. Registration validates at once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def add(self, name: str, value: T, *, documented: object) -> None:
        """Register `value` under `name`; the docstring of `documented` describes it.

        Raises `HarnessError` for a bad name, a missing docstring or a second registration.
        """
        module = getattr(documented, "__module__", "?")
        where = f"{self.kind} in {module}"
        if not _NAME.match(name):
            raise HarnessError(
                f"a {self.kind} needs a kebab-case name",
                value=name,
                where=where,
                fix="use lower-case words joined by “-”",
            )
        doc = inspect.getdoc(documented) or ""
        if not doc or doc.startswith(f"{getattr(documented, '__name__', '')}("):
            raise HarnessError(
                f"{self.kind} “{name}” has no docstring",
                value=name,
                where=where,
                fix="its first sentence is what lists, reports and the catalogue print",
            )
        held = self._entries.get(name)
        if held is not None and held.module != module:
            raise HarnessError(
                f"two {self.kind}s are named “{name}”",
                value=name,
                where=f"{held.module} and {module}",
                fix="rename one",
            )
        self._entries[name] = Entry(name, first_sentence(doc), value, module, doc)

    def discover(self, package_name: str) -> None:
        """Import every module of a package, so that its decorators have run."""
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")

    def get(self, name: str, *, where: str = "") -> Entry[T]:
        """The entry of that name; raises `UsageError` with suggestions when there is none."""
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._entries, where=where) from None

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def decorator(self, name: str) -> Callable[[T], T]:
        """A decorator that registers what it decorates, unchanged."""

        def register(value: T) -> T:
            self.add(name, value, documented=value)
            return value

        return register


def first_sentence(doc: str) -> str:
    """The docstring up to its first full stop at a line's or a word's end."""
    paragraph = " ".join(doc.strip().split("\n\n", 1)[0].split())
    match = re.match(r"(.+?[.?!])(\s|$)", paragraph)
    return match.group(1) if match else paragraph
