"""Registries validate at once and help with names."""

import sys
from pathlib import Path

import pytest

from harness.core.errors import HarnessError, UsageError
from harness.core.registry import Registry, first_sentence


def documented() -> None:
    """It does a thing. And more."""


def undocumented() -> None: ...


def other_module() -> object:
    def function() -> None:
        """Another one."""

    function.__module__ = "elsewhere"
    return function


def test_a_thing_is_found_by_its_name() -> None:
    registry: Registry[object] = Registry("thing")
    assert registry.decorator("a-thing")(documented) is documented
    entry = registry.get("a-thing")
    assert (entry.name, entry.summary) == ("a-thing", "It does a thing.")
    assert (entry.value, entry.module) == (documented, __name__)
    assert entry.doc == "It does a thing. And more."


def test_things_come_in_order() -> None:
    registry: Registry[object] = Registry("thing")
    for name in ("b", "a", "c-1"):
        registry.add(name, name, documented=documented)
    assert [entry.name for entry in registry] == ["a", "b", "c-1"]


@pytest.mark.parametrize("name", ["", "Big", "two words", "a_b", "-a", "a-", "a--b", "1a", "ä"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(HarnessError, match="kebab-case"):
        Registry("thing").add(name, 1, documented=documented)


def test_a_docstring_is_needed() -> None:
    with pytest.raises(HarnessError, match="no docstring"):
        Registry("thing").add("a", 1, documented=undocumented)


def test_a_name_belongs_to_one_module() -> None:
    registry: Registry[object] = Registry("thing")
    registry.add("a", 1, documented=documented)
    registry.add("a", 2, documented=documented)
    assert registry.get("a").value == 2
    with pytest.raises(HarnessError, match="two things are named “a”"):
        registry.add("a", 3, documented=other_module())


def test_unknown_names_get_suggestions() -> None:
    registry: Registry[object] = Registry("thing")
    registry.add("ledger-balanced", 1, documented=documented)
    with pytest.raises(UsageError, match="did you mean “ledger-balanced”"):
        registry.get("ledger-balance")


def test_discovery_imports_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "discovered_things"
    package.mkdir()
    (package / "__init__.py").write_text("found = []\n")
    (package / "one.py").write_text("from discovered_things import found\nfound.append(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    Registry("thing").discover("discovered_things")
    assert sys.modules["discovered_things"].found == [1]
    for name in ("discovered_things", "discovered_things.one"):
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("One. Two.", "One."),
        ("One line\nand the next. More", "One line and the next."),
        ("Is it? Yes.", "Is it?"),
        ("Version 1.2 works. Yes.", "Version 1.2 works."),
        ("No end\n\nSecond paragraph.", "No end"),
        ("", ""),
    ],
)
def test_first_sentences(doc: str, sentence: str) -> None:
    assert first_sentence(doc) == sentence
