"""The journal: canonical bytes, the chain, and that no changed byte goes unseen."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.errors import EvidenceError
from harness.core.journal import GENESIS, SEAL, Journal, canonical, read

LIMIT = 2**53 - 1
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
KEYS = st.text(alphabet=st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF))
SCALARS = st.none() | st.booleans() | st.integers(-LIMIT, LIMIT) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)
FEW = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@FEW
@given(VALUES)
def test_the_canonical_form_is_that_of_rfc_8785(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@dataclass
class Foreign:
    """orjson would write this; we do not."""

    share: float = 0.5


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        {"a": [{"b": 0.1}]},
        (1, 2.5),
        2**53,
        -(2**53),
        Foreign(),
        Path("x"),
        b"x",
        {1: "a"},
        {"\U0001f600": 1},
        "\ud800",
        {1, 2},
    ],
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(EvidenceError):
        canonical({"value": value})


def write(path: Path, *, seal: bool = True) -> bytes:
    journal = Journal(path)
    journal.write("plan", {"name": "größe \u001f \U0001f600", "amount_minor": "12", "n": 3})
    journal.write("operation", {"list": [1, None, True], "nested": {"z": 1, "a": -2}})
    if seal:
        journal.seal()
    else:
        journal.close()
    return path.read_bytes()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert journal.write("a", {"x": 1}, at_ns=journal.start_ns + 5) == 0
    assert journal.write("b", {"y": ["z"]}) == 1
    head = journal.seal()
    records = list(read(tmp_path / "j"))
    assert [(r.seq, r.type) for r in records] == [(0, "a"), (1, "b"), (2, SEAL)]
    assert (records[0].at_ns, records[0].data) == (5, {"x": 1})
    assert records[2].data == {"records": 3}
    assert records[2].hash == head
    assert GENESIS not in {r.hash for r in records}


def test_nothing_follows_a_seal_and_no_journal_is_overwritten(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.seal()
    with pytest.raises(EvidenceError, match="sealed"):
        journal.write("a", {})
    with pytest.raises(FileExistsError):
        Journal(tmp_path / "j")


def test_a_refused_record_leaves_no_trace(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(EvidenceError):
        journal.write("a", {"share": 0.5})
    journal.write("b", {})
    journal.seal()
    assert [r.type for r in read(tmp_path / "j")] == ["b", SEAL]


def test_many_threads_make_one_chain(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")

    def work(name: str) -> None:
        for number in range(50):
            journal.write("n", {"name": name, "number": number})

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.seal()
    records = list(read(tmp_path / "j"))
    assert [r.seq for r in records] == list(range(201))


def test_a_torn_tail_is_tolerated_only_while_unsealed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    content = write(path, seal=False)
    path.write_bytes(content + b'{"at_ns":1,"da')
    assert [r.type for r in read(path)] == ["plan", "operation"]
    path.unlink()
    path.write_bytes(write(tmp_path / "k") + b"{")
    with pytest.raises(EvidenceError, match="follow the seal"):
        list(read(path))


def test_a_record_after_the_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    lines = write(path).splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + lines[-1])
    with pytest.raises(EvidenceError, match="follows the seal"):
        list(read(path))


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[0].replace(b'"12"', b'"13"'), *lines[1:]],
        lambda lines: [lines[0].replace(b"{", b"{ ", 1), *lines[1:]],
        lambda lines: [lines[0].replace(b"\\u001f", b"\\u001F", 1), *lines[1:]],
        lambda lines: [lines[0][:-2] + b',"more":1}\n', *lines[1:]],
        lambda lines: [b"[]\n", *lines[1:]],
        lambda lines: [b"\xff\n", *lines[1:]],
        lambda lines: [lines[0].replace(b'"n":3', b'"n":3.0'), *lines[1:]],
    ],
)
def test_edits_break_the_chain(tmp_path: Path, edit) -> None:
    path = tmp_path / "j"
    lines = write(path).splitlines(keepends=True)
    path.write_bytes(b"".join(edit(lines)))
    with pytest.raises(EvidenceError):
        list(read(path))


def verifies(path: Path) -> bool:
    """Whether the whole chain holds up to a seal."""
    try:
        records = list(read(path))
    except EvidenceError:
        return False
    return bool(records) and records[-1].type == SEAL


def test_no_changed_byte_verifies(tmp_path: Path) -> None:
    """Exhaustive over positions: every byte, with a few values that parsers like to forgive."""
    path = tmp_path / "j"
    content = write(path)
    assert verifies(path)
    for place, byte in enumerate(content):
        for other in {byte ^ 0x20, byte ^ 1, 0x20, 0x0A, 0x30} - {byte}:
            path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
            assert not verifies(path), f"byte {place}: {byte:#x} → {other:#x}"


@settings(FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_random_change_verifies(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "j"
    if not (tmp_path / "original").exists():
        write(tmp_path / "original")
    content = (tmp_path / "original").read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    assert not verifies(path)
    path.write_bytes(content[:place])
    assert not verifies(path)
