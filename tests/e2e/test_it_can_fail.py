"""The harness by its prey: a planted defect is found, a sabotaged fault is never green."""

import sys
from pathlib import Path

import pytest

from harness.cli.assemble import RunRequest, assemble
from harness.core.exit_codes import ExitCode
from tests.e2e.conftest import Command

pytestmark = pytest.mark.timeout(150)


def test_a_key_drawn_anew_is_found_and_the_investment_named(stormproof: Command) -> None:
    # From the folder of the unchanged service, which must not be run instead of the variant.
    folder = Path(__file__).parents[2] / "system_under_test"
    arguments = ("run", "partner-reply-lost", "--variant", "PAR-03", "--seed", "3")
    ended = stormproof(*arguments, folder=folder)
    assert ended.code == ExitCode.FAIL, ended.out + ended.err
    record = ended.record()
    twice = [f for f in record["findings"] if f["invariant"] == "applied-exactly-once"]
    assert twice
    assert {"applied-exactly-once", "partner-agrees"} <= {
        f["invariant"] for f in record["findings"]
    }
    example = twice[0]["examples"][0]
    assert example["subject"]
    assert example["subject"] in ended.out
    assert "twice" in ended.out or "2" in example["actual"]
    assert "--variant PAR-03" in twice[0]["replay"]
    targeted = {fault["operation"] for fault in record["scenarios"][0]["faults"]}
    assert {e["operation"] for f in twice for e in f["examples"]} <= targeted


@pytest.mark.parametrize(
    ("scenario", "sabotage"),
    [
        pytest.param("partner-reply-lost", "forward-and-lie", marks=pytest.mark.long),
        pytest.param("commit-reply-lost", "forward-and-lie", marks=pytest.mark.long),
        ("commit-reply-lost", "lose-the-request"),
        pytest.param("partner-reply-lost", "lose-the-request", marks=pytest.mark.long),
    ],
)
def test_a_sabotaged_proxy_is_inconclusive(tmp_path: Path, scenario: str, sabotage: str) -> None:
    proxy = Path(__file__).with_name("sabotaged_proxy.py")
    request = RunRequest(
        seed=4,
        names=(scenario,),
        runs=tmp_path / "runs",
        proxy_argv=(sys.executable, str(proxy), sabotage),
    )
    record = assemble(request).execute()
    assert record.exit_code == ExitCode.INCONCLUSIVE, record.reason
    assert "bite" in record.reason
    assert not any(fault.bit for fault in record.scenarios[0].faults)


def test_a_target_that_is_never_ready_is_not_judged(stormproof: Command) -> None:
    ended = stormproof("run", "--variant", "NEVER-READY", "--max-seconds", "8")
    assert ended.code == ExitCode.HARNESS
    record = ended.record()
    assert record["verdict"] is None
    assert "/readyz" in record["reason"]
