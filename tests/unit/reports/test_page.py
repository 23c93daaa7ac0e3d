"""The page: complete, safe, accessible, bounded, and the same every time."""

import re
import shutil
from pathlib import Path

import pytest

import reports
from harness.core.errors import EvidenceError, HarnessError
from harness.core.run_record import FindingRecord, RunRecord
from tests.unit.reports.page import Page
from tests.unit.reports.samples import SAMPLES, failing, passing

TWO_MB = 2 * 1024 * 1024
SCRIPT = "<script>alert('stolen')</script><img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    directories = {name: make(root / name) for name, make in SAMPLES.items()}
    for directory in directories.values():
        reports.render(directory)
    return directories


def page_of(directory: Path) -> Page:
    return Page((directory / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(params=sorted(SAMPLES))
def page(request: pytest.FixtureRequest, rendered: dict[str, Path]) -> Page:
    return page_of(rendered[request.param])


def edit(directory: Path, **changes: object) -> Path:
    """Change fields of a run's record."""
    path = directory / "run.json"
    record = RunRecord.model_validate_json(path.read_bytes())
    changed = RunRecord.model_validate(record.model_dump() | changes)
    path.write_text(changed.model_dump_json(), encoding="utf-8")
    return directory


def test_all_files_are_written_and_returned(rendered: dict[str, Path], tmp_path: Path) -> None:
    names = [str(path.relative_to(tmp_path)) for path in reports.render(passing(tmp_path / "r"))]
    assert names == [
        "r/report.html",
        "r/summary.md",
        "r/junit.xml",
        "r/charts/timeline-commit-reply-lost.vl.json",
        "r/charts/timeline-partner-reply-lost.vl.json",
        "r/charts/timeline-one-investment-many-clients.vl.json",
    ]
    assert all((tmp_path / name).stat().st_size > 200 for name in names)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_same_run_gives_the_same_bytes(
    name: str, rendered: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for source in ("run.json", "journal.ndjson"):
        shutil.copy(rendered[name] / source, copy)
    written = reports.render(copy)
    assert len(written) >= 3
    for path in written:
        original = rendered[name] / path.relative_to(copy)
        assert path.read_bytes() == original.read_bytes(), path.name


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    policy = next(m for m in page.all("meta") if "http-equiv" in m.attributes)
    assert policy.attributes["content"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
    assert not page.all("script", "link", "iframe", "object", "embed", "img", "base", "form")
    for element in page.elements:
        assert not [name for name in element.attributes if name.startswith("on")]
        assert "style" not in element.attributes, "inline styles are lost under strict policies"
        for name in ("href", "src", "xlink:href"):
            assert element.attributes.get(name, "#").startswith("#")
    style = page.all("style")
    assert len(style) == 1
    assert not re.search(r"https?:|url\(|@import", style[0].text)


def test_links_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    links = [a.attributes["href"] for a in page.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_headings_are_in_order(page: Page) -> None:
    levels = [int(h.tag[1]) for h in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_tables_can_be_read_without_seeing_them(page: Page) -> None:
    assert page.all("table")
    captions = [c for c in page.all("caption") if c.text.strip()]
    assert len(captions) == len(page.all("table"))
    assert all(header.attributes.get("scope") in ("col", "row") for header in page.all("th"))
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("a")[0].attributes["class"] == "skip"
    assert page.all("main")


def test_pictures_have_words_and_a_table(rendered: dict[str, Path]) -> None:
    page = page_of(rendered["failing"])
    pictures = page.all("svg")
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        title, desc = (page.by_id(i) for i in picture.attributes["aria-labelledby"].split())
        assert (title.tag, desc.tag) == ("title", "desc")
        assert title.text.startswith("Timeline of ")
        assert re.match(r"This time: \d+ operations; ", desc.text)
        group = next(e for e in picture.ancestors if e.tag == "article")
        assert any(group in table.ancestors for table in page.all("table"))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("passing", "✓ pass"),
        ("failing", "✕ FAIL"),
        ("inconclusive", "? inconclusive"),
        ("harness-failure", "■ no verdict"),
    ],
)
def test_the_verdict_comes_first_then_the_limits(
    name: str, word: str, rendered: dict[str, Path]
) -> None:
    page = page_of(rendered[name])
    sections = [section.attributes["id"] for section in page.all("section")]
    assert sections[:2] == ["verdict", "limits"]
    first = page.by_id("verdict")
    assert word in first.text
    figures = next(e for e in page.all("dl") if e.attributes["class"] == "figures")
    assert first in figures.ancestors
    assert len([dt for dt in page.all("dt") if figures in dt.ancestors]) == 5
    assert "nothing follows for others" in page.by_id("limits").text


def test_a_finding_says_what_where_when_and_how_to_repeat(rendered: dict[str, Path]) -> None:
    page = page_of(rendered["failing"])
    finding = page.by_id("finding-partner-reply-lost.executed-at-most-once.twice")
    assert page.by_id("findings") in finding.ancestors
    text = " ".join(finding.text.split())
    assert "An investment was executed twice" in text
    assert "EUR 172136252.38 (17213625238 minor units)" in text
    assert "1 partner order of 17213625238 minor units" in text
    assert "2 partner orders of 17213625238 minor units" in text
    assert "14604 ms of the run · 2026-11-24T08:15:14.854Z" in text
    assert "partner-reply-lost/execute-investment/54" in text
    assert "457 (operation), 658 (books)" in text
    assert "reset-reply on worker-partner bit" in text
    assert "no complete reply" in text
    commands = [code for code in page.all("code") if finding in code.ancestors]
    assert any(
        c.text == "stormproof run partner-reply-lost --seed 20261124 --variant dedupe-removed"
        for c in commands
    )
    assert "An investment was executed twice" in page.by_id("verdict").text


def test_what_a_service_says_stays_text(tmp_path: Path) -> None:
    directory = failing(tmp_path / "run", message=SCRIPT)
    record = RunRecord.model_validate_json((directory / "run.json").read_bytes())
    scenario = record.scenarios[1]
    scenario.faults[0].name = scenario.faults[0].link = SCRIPT
    scenario.phases[0].name = scenario.summary = SCRIPT
    record.findings[0].id = SCRIPT
    edit(directory, scenarios=record.scenarios, findings=record.findings, reason=SCRIPT)
    reports.render(directory)
    page = page_of(directory)
    assert not page.all("script", "img")
    assert not [e for e in page.elements if any(n.startswith("on") for n in e.attributes)]
    assert SCRIPT in page.by_id("findings").text
    assert SCRIPT in page.by_id("verdict").text
    drawn = [t.text for t in page.all("text") if "<script>" in t.text]
    assert drawn, "the picture shows the fault's name as text"


def test_a_page_stays_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    directory = failing(tmp_path / "run")
    record = RunRecord.model_validate_json((directory / "run.json").read_bytes())
    one = record.findings[0].model_dump()
    one["examples"] = [one["examples"][0] | {"actual": f"wrong {n}"} for n in range(40)]
    many = [FindingRecord.model_validate(one | {"id": f"f-{n}", "count": 900}) for n in range(70)]
    reports.render(edit(directory, findings=many))
    page = page_of(directory)
    found = [e for e in page.all("article") if e.attributes["id"].startswith("finding-")]
    assert len(found) == 50
    assert "Showing 50 of 70 findings" in page.by_id("findings").text
    assert "Showing 20 of 900" in found[0].text
    assert "wrong 19" in found[0].text
    assert "wrong 20" not in found[0].text
    assert len(page.source.encode()) < TWO_MB


def test_no_path_of_this_machine_is_in_a_report(rendered: dict[str, Path]) -> None:
    for directory in rendered.values():
        for path in directory.rglob("*.*"):
            if path.is_file():
                assert str(directory) not in path.read_text(encoding="utf-8"), path.name


def test_a_damaged_journal_is_not_reported_on(tmp_path: Path) -> None:
    directory = passing(tmp_path / "run")
    journal = directory / "journal.ndjson"
    journal.write_bytes(journal.read_bytes().replace(b'"status":202', b'"status":500', 1))
    with pytest.raises(EvidenceError, match="the hash chain breaks"):
        reports.render(directory)
    assert not (directory / "report.html").exists()


def test_another_journal_than_the_recorded_one_is_named(tmp_path: Path) -> None:
    directory = edit(passing(tmp_path / "run"), journal_head="0" * 64)
    reports.render(directory)
    integrity = page_of(directory).by_id("integrity").text
    assert "✕ DIFFERENT head" in integrity
    assert "not signed" in integrity


def test_a_run_without_journal_is_told_without_pictures(tmp_path: Path) -> None:
    directory = passing(tmp_path / "run")
    (directory / "journal.ndjson").unlink()
    assert [path.name for path in reports.render(directory)] == [
        "report.html",
        "summary.md",
        "junit.xml",
    ]
    page = page_of(directory)
    assert "There is no journal" in page.by_id("limits").text
    assert "No picture: the journal holds no operation" in page.by_id("timelines").text


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no run to report"):
        reports.render(tmp_path)


def test_a_record_of_another_version_is_refused_by_field(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"verdict": "splendid"}', encoding="utf-8")
    with pytest.raises(EvidenceError, match="verdict: "):
        reports.render(tmp_path)
