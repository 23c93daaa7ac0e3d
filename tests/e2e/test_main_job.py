"""The main job on the clean service: it passes, and its run directory stands by itself."""

import json
import shutil
from pathlib import Path

import pytest

from harness.core.exit_codes import ExitCode
from tests.e2e.conftest import Command, Ended, processes_of

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One run of the profile `smoke`, whose directory the tests of this module look at."""
    import os
    import subprocess

    from tests.e2e.conftest import STORMPROOF

    runs = tmp_path_factory.mktemp("smoke") / "runs"
    done = subprocess.run(
        [STORMPROOF, "run", "--profile", "smoke", "--seed", "5", "--runs", str(runs)],
        capture_output=True, text=True, timeout=180, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr, (runs / "latest").resolve())


def test_the_clean_service_passes(smoke: Ended) -> None:
    assert smoke.code == ExitCode.PASS, smoke.out + smoke.err
    record = smoke.record()
    assert record["verdict"] == "pass"
    assert not record["findings"]
    assert [s["name"] for s in record["scenarios"]] == [
        "commit-reply-lost", "partner-reply-lost", "one-investment-many-clients",
    ]  # fmt: skip
    for scenario in record["scenarios"]:
        assert sum(scenario["operations"].values()) >= 200, scenario["name"]
        assert all(fault["bit"] for fault in scenario["faults"]), scenario["name"]
        assert all(one["verdict"] == "pass" for one in scenario["invariants"]), scenario["name"]
    assert len(record["scenarios"][0]["faults"]) == 10
    links = [fault["link"] for fault in record["scenarios"][0]["faults"]]
    assert links.count("worker-postgres") == 5


def test_the_console_says_seed_first_and_how_to_repeat_last(smoke: Ended) -> None:
    lines = smoke.out.splitlines()
    assert any("seed" in line and "5" in line for line in lines[:12])
    tail = "\n".join(lines[-20:])
    for words in ("PASS", "report.html", "stormproof run --profile smoke --seed 5", "analyze"):
        assert words in tail
    assert "\x1b[" not in smoke.out


def test_nothing_is_left_running(smoke: Ended) -> None:
    assert processes_of(smoke.record()["run_id"]) == []


def test_the_run_directory_is_complete(smoke: Ended) -> None:
    assert smoke.run_dir is not None
    for name in ("run.json", "journal.ndjson", "report.html", "junit.xml", "summary.md"):
        assert (smoke.run_dir / name).stat().st_size > 0, name
    logs = {path.stem for path in (smoke.run_dir / "logs").glob("*.log")}
    assert {"api-1", "api-2", "worker", "relay", "sweeper", "partner", "postgres"} <= logs


def test_no_secret_is_in_the_run_directory(smoke: Ended) -> None:
    assert smoke.run_dir is not None
    found = [
        path.name
        for path in smoke.run_dir.rglob("*")
        if path.is_file() and b"sp_" in path.read_bytes()
    ]
    assert found == []


def test_analyze_derives_the_verdict_from_the_journal_alone(
    smoke: Ended, stormproof: Command, tmp_path: Path
) -> None:
    assert smoke.run_dir is not None
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(smoke.run_dir / "journal.ndjson", alone)
    ended = stormproof("analyze", str(alone), "--json")
    assert ended.code == ExitCode.PASS
    assert json.loads(ended.out) == smoke.record()


def test_an_edited_journal_is_refused(smoke: Ended, stormproof: Command, tmp_path: Path) -> None:
    assert smoke.run_dir is not None
    edited = tmp_path / "edited"
    edited.mkdir()
    text = (smoke.run_dir / "journal.ndjson").read_text()
    assert '"outcome":"ok"' in text
    (edited / "journal.ndjson").write_text(text.replace('"outcome":"ok"', '"outcome":"no"', 1))
    ended = stormproof("analyze", str(edited))
    assert ended.code == ExitCode.EVIDENCE
    assert "journal.ndjson:" in ended.err


@pytest.mark.parametrize(
    "edit", [{"verdict": "fail", "exit_code": 1}, {"seed": 6}, {"reason": "all is well"}]
)
def test_an_edited_record_is_refused(
    smoke: Ended, stormproof: Command, tmp_path: Path, edit: dict[str, object]
) -> None:
    assert smoke.run_dir is not None
    edited = tmp_path / "edited"
    edited.mkdir()
    shutil.copy(smoke.run_dir / "journal.ndjson", edited)
    (edited / "run.json").write_text(json.dumps(smoke.record() | edit))
    assert stormproof("analyze", str(edited)).code == ExitCode.EVIDENCE
