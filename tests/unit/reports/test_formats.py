"""The files for machines and merge requests: JUnit, Markdown, JSON Schema."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

import reports
from harness.core.run_record import FindingRecord, RunRecord
from harness.core.verdict import Verdict
from reports.formats.junit import junit
from reports.formats.schema import SCHEMA_FILE, schema
from reports.formats.summary import BYTES_MAX
from reports.run import load
from tests.unit.reports.samples import SAMPLES, failing, inconclusive, passing
from tests.unit.reports.test_page import edit

HOSTILE = "\x00\x1b[31m]]> <b>&\ufffe"


def suites(directory: Path) -> dict[str, ET.Element]:
    root = ET.fromstring(junit(load(directory)))
    return {suite.attrib["name"]: suite for suite in root.iter("testsuite")}


def troubles(suite: ET.Element) -> dict[str, list[str]]:
    return {case.attrib["name"]: [e.tag for e in case] for case in suite.iter("testcase")}


def test_junit_of_a_pass_is_green_throughout(tmp_path: Path) -> None:
    found = suites(passing(tmp_path / "run"))
    assert list(found) == [
        "run",
        "commit-reply-lost",
        "partner-reply-lost",
        "one-investment-many-clients",
    ]
    cases = {name: t for suite in found.values() for name, t in troubles(suite).items()}
    assert len(cases) == 1 + 3 * 8 + 2
    assert not any(cases.values())
    assert "commit-reply-lost.fault:drop-reply@api-1-postgres" in cases
    properties = {
        p.attrib["name"]: p.attrib["value"] for p in found["commit-reply-lost"].iter("property")
    }
    assert properties["seed"] == "20261124"
    assert properties["phase.load"] == "4.020 s – 8.550 s"
    assert properties["fault.drop-reply@api-1-postgres"] == "4.020 s – 8.030 s"


def test_junit_of_a_failure_names_the_transfer(tmp_path: Path) -> None:
    found = suites(failing(tmp_path / "run"))
    red = {name: tags for suite in found.values() for name, tags in troubles(suite).items() if tags}
    assert red == {
        "run.verdict": ["failure"],
        "partner-reply-lost.executed-at-most-once": ["failure"],
    }
    failure = found["partner-reply-lost"].find(".//failure")
    assert failure is not None
    assert failure.attrib["type"] == "fail"
    assert "2 partner orders of 17213625238 minor units" in (failure.text or "")
    assert "repeat: stormproof run partner-reply-lost" in (failure.text or "")


def test_junit_never_shows_inconclusive_as_green(tmp_path: Path) -> None:
    found = suites(inconclusive(tmp_path / "run"))
    red = {name: tags for suite in found.values() for name, tags in troubles(suite).items() if tags}
    assert red == {
        "run.verdict": ["error"],
        "commit-reply-lost.conclusive": ["error"],
        "commit-reply-lost.every-fault-bit": ["error"],
        "commit-reply-lost.fault:drop-reply@api-1-postgres": ["error"],
    }


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [(None, "error"), (Verdict.INCONCLUSIVE, "error"), (Verdict.DEGRADED, "failure")],
)
def test_junit_of_other_verdicts(verdict: Verdict | None, tag: str, tmp_path: Path) -> None:
    directory = edit(passing(tmp_path / "run"), verdict=verdict)
    assert troubles(suites(directory)["run"]) == {"run.verdict": [tag]}


def test_junit_is_xml_whatever_a_service_said(tmp_path: Path) -> None:
    directory = edit(failing(tmp_path / "run", message=HOSTILE), reason=HOSTILE)
    found = suites(directory)
    message = found["run"].find(".//failure")
    assert message is not None
    assert message.attrib["message"].startswith(r"\x00\x1b[31m]]> <b>&\xfffe")


def test_junit_case_names_are_unique(tmp_path: Path) -> None:
    directory = passing(tmp_path / "run")
    record = RunRecord.model_validate_json((directory / "run.json").read_bytes())
    record.scenarios[0].invariants.append(record.scenarios[0].invariants[0])
    found = suites(edit(directory, scenarios=record.scenarios))
    names = [c.attrib["name"] for suite in found.values() for c in suite.iter("testcase")]
    assert len(names) == len(set(names)) == 1 + 3 * 8 + 2 + 1


def test_summary_has_the_verdict_the_finding_and_the_command(tmp_path: Path) -> None:
    directory = failing(tmp_path / "run")
    reports.render(directory)
    lines = (directory / "summary.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("**✕ FAIL**") for line in lines[:6])
    assert "### An investment was executed twice" in lines
    assert any("`stormproof run partner-reply-lost --seed 20261124" in line for line in lines)
    assert any(line.startswith("| partner-reply-lost | ✕\u00a0FAIL |") for line in lines)


def test_summary_keeps_hostile_text_on_one_line_and_inert(tmp_path: Path) -> None:
    hostile = "<script>x</script> | `x`\n# heading\x1b"
    directory = failing(tmp_path / "run", message=hostile)
    reports.render(directory)
    text = (directory / "summary.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    assert r"&lt;script>x&lt;/script> \| \`x\` \# heading" in text
    assert "# heading" not in text.splitlines()


def test_summary_is_bounded_and_says_so(tmp_path: Path) -> None:
    directory = failing(tmp_path / "run")
    record = RunRecord.model_validate_json((directory / "run.json").read_bytes())
    one = record.findings[0].model_dump() | {"title": "ü" * 4_000}
    many = [FindingRecord.model_validate(one | {"id": f"f-{n}"}) for n in range(40)]
    reports.render(edit(directory, findings=many))
    data = (directory / "summary.md").read_bytes()
    assert BYTES_MAX - 10_000 < len(data) <= BYTES_MAX
    assert data.decode().endswith("*Cut at 64 KiB; the whole report is in report.html.*\n")


def test_the_shipped_schema_is_current() -> None:
    held = SCHEMA_FILE.read_text(encoding="utf-8")
    assert held == schema(), "write it anew with: python -m reports.formats.schema"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_runs_fit_the_schema(name: str, tmp_path: Path) -> None:
    directory = SAMPLES[name](tmp_path / "run")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_bytes()))
    content = json.loads((directory / "run.json").read_bytes())
    assert list(validator.iter_errors(content)) == []
    assert [e.json_path for e in validator.iter_errors(content | {"verdict": "green"})] == [
        "$.verdict"
    ]
