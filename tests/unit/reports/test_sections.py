"""The seam for sections, and the words that they share."""

import re
from pathlib import Path

import pytest

import reports.section
from harness.core.errors import HarnessError
from reports.content import Paragraph, plain
from reports.run import Run, load, slug
from reports.section import build, section, sections
from reports.words import count, money, pairs, sentence, short_commit, span
from tests.unit.reports.samples import failing, passing

FOLDER = Path(reports.section.__file__).with_name("sections")
LINES_MAX = 50


def test_a_section_is_one_short_file_with_one_decorator() -> None:
    files = [path for path in FOLDER.glob("*.py") if path.name != "__init__.py"]
    assert len(files) >= 9
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LINES_MAX, path.name
        assert len(re.findall(r"^@section\(", text, re.MULTILINE)) == 1, path.name


def test_sections_stand_in_their_order_and_silent_ones_are_left_out(tmp_path: Path) -> None:
    names = [built.section.name for built in build(load(passing(tmp_path / "run")))]
    assert names[:2] == ["verdict", "limits"]
    assert names[-2:] == ["integrity", "glossary"]
    assert "findings" not in names
    assert "unproved" not in names


def test_a_new_section_is_found_by_its_decorator_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "_entries", dict(sections._entries))

    @section("weather", title="Weather", order=15)
    def weather(run: Run) -> list[Paragraph]:
        """How the weather was."""
        return [Paragraph("Stormy.")]

    built = build(load(passing(tmp_path / "run")))
    assert [b.section.name for b in built][:3] == ["verdict", "weather", "limits"]


def test_a_section_without_a_docstring_is_refused() -> None:
    with pytest.raises(HarnessError, match="has no docstring"):
        section("mute", title="Mute", order=1)(lambda run: [])


def test_findings_are_worst_first(tmp_path: Path) -> None:
    run = load(failing(tmp_path / "run"))
    safety = run.record.findings[0]
    rare = safety.model_copy(update={"id": "rare", "count": 1})
    late = safety.model_copy(update={"id": "late", "invariant": "nothing-stuck", "count": 99})
    run.record.findings[:] = [late, rare, safety]
    assert [finding.id for finding in run.findings] == [safety.id, "rare", "late"]


def test_an_amount_is_found_through_the_subject_when_no_operation_is_named(tmp_path: Path) -> None:
    run = load(failing(tmp_path / "run"))
    finding = run.findings[0]
    bare = finding.examples[0].model_copy(update={"operation": "", "records": []})
    assert run.amount_behind(finding, bare) == (17213625238, "EUR")
    wordy = bare.model_copy(update={"subject": f"investment {bare.subject} of EUR"})
    assert run.amount_behind(finding, wordy) == (17213625238, "EUR")
    nobody = bare.model_copy(update={"subject": "nobody"})
    assert run.amount_behind(finding, nobody) == (0, "")


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (12345, "EUR", "EUR 123.45 (12345 minor units)"),
        (-5, "EUR", "EUR -0.05 (-5 minor units)"),
        (12345, "JPY", "JPY 12345 (12345 minor units)"),
        (12345, "KWD", "KWD 12.345 (12345 minor units)"),
        (9007199254740993, "USD", "USD 90071992547409.93 (9007199254740993 minor units)"),
    ],
)
def test_money_is_exact(amount_minor: int, currency: str, text: str) -> None:
    assert money(amount_minor, currency) == text


def test_words() -> None:
    assert count(1, "fault") == "1 fault"
    assert count(0, "fault") == "0 faults"
    assert span(None, None) == "never in place"
    assert span(1_005, None) == "1.005 s – not ended"
    assert sentence("the sums differ") == "The sums differ"
    assert sentence("api-1 did not answer") == "api-1 did not answer"
    assert pairs({"b": "2", "a": "1", "c": ""}) == "a = 1, b = 2"
    assert short_commit("70d1c21059bb62f144aa+") == "70d1c21059bb+"
    assert slug(" a/b <c>\n") == "a-b-c"
    assert slug("<>") == "unnamed"
    assert plain(("a", reports.content.code("b"))) == "ab"
