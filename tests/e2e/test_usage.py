"""Bad input: a clear error in four parts, exit code 2, nothing started."""

import subprocess
from pathlib import Path

import pytest

from harness.core.exit_codes import ExitCode
from tests.e2e.conftest import STORMPROOF, Command


def test_help_names_every_exit_code(stormproof: Command) -> None:
    ended = stormproof("--help")
    assert ended.code == 0
    told = " ".join(ended.out.split())
    for code in ExitCode:
        assert f"{int(code)} {code.sentence}" in told


@pytest.mark.parametrize("command", ["run", "analyze", "report", "list", "describe"])
def test_every_command_shows_an_example(stormproof: Command, command: str) -> None:
    ended = stormproof(command, "--help")
    assert ended.code == 0
    assert f"Example: stormproof {command}" in ended.out


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["run", "partner-reply-lots"], "partner-reply-lost"),
        (["run", "--profile", "smok"], "smoke"),
        (["run", "--variant", "PAR-3"], "PAR-03"),
        (["run", "--stack", "compos"], "compose"),
        (["run", "--target", "investmnt"], "investment"),
        (["describe", "money-conserve"], "money-conserved"),
        (["list", "scenario"], "scenarios"),
    ],
)
def test_unknown_names_get_a_suggestion(
    stormproof: Command, arguments: list[str], suggestion: str
) -> None:
    ended = stormproof(*arguments)
    assert ended.code == ExitCode.USAGE
    assert f"did you mean “{suggestion}”" in ended.err
    assert ended.run_dir is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--seed", "many"],
        ["run", "--max-seconds", "0"],
        ["run", "--max-seconds", "-3"],
        ["run", "--no-such-option"],
        ["run", "partner-reply-lost", "--profile", "smoke"],
        ["analyze", "no/such/run"],
        ["report", "no/such/run"],
        ["no-such-command"],
    ],
)
def test_misuse_ends_with_2_and_runs_nothing(stormproof: Command, arguments: list[str]) -> None:
    ended = stormproof(*arguments)
    assert ended.code == ExitCode.USAGE
    assert ended.err.strip()
    assert "Traceback" not in ended.err
    assert ended.run_dir is None


def test_a_target_that_is_not_toml(stormproof: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "target.toml").write_text("name = 'x\n")
    ended = stormproof("run", "--target", str(folder))
    assert ended.code == ExitCode.USAGE
    for part in ("error:", "value:", "where:", "next:"):
        assert part in ended.err


def test_a_target_without_the_links_of_any_scenario(stormproof: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "target.toml").write_text(
        'name = "mine"\nsummary = "x"\ninterpreter = "python3"\nsource = []\nentries = []\n'
    )
    (folder / "target.py").write_text(
        "from harness.core.target import Rules, target\n"
        "@target('mine')\n"
        "class Mine:\n"
        "    clients = ledger = None\n"
        "    rules = Rules()\n"
        "    def secrets(self, derive): return {}\n"
        "    def recovery_window_seconds(self, settings): return 1.0\n"
    )
    ended = stormproof("run", "partner-reply-lost", "--target", str(folder))
    assert ended.code == ExitCode.NOTHING_RAN
    assert "worker-partner" in ended.err
    assert ended.run_dir is None


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "raise SystemExit(1)", "x ="])
def test_a_door_that_does_not_load_is_a_usage_error(
    stormproof: Command, tmp_path: Path, code: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "target.toml").write_text(
        'name = "mine"\nsummary = "x"\ninterpreter = "python3"\nsource = []\nentries = []\n'
    )
    (folder / "target.py").write_text(code)
    ended = stormproof("run", "--target", str(folder))
    assert ended.code == ExitCode.USAGE
    assert "the door file cannot be loaded" in ended.err


def test_all_problems_of_a_target_are_told_at_once(stormproof: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "target.toml").write_text(
        'name = "mine"\nsummary = "x"\ninterpreter = "python3"\nsource = []\nentries = ["shop"]\n'
        '[[processes]]\nname = "web"\ncommand = ["{prot}"]\nready = "/"\n'
        '[[processes]]\nname = "web"\ncommand = []\n'
        '[[links]]\nname = "a"\nsource = "client"\nto = "web"\nprotocol = "http"\n'
        'value = "{hots}"\n'
    )
    ended = stormproof("run", "--target", str(folder))
    assert ended.code == ExitCode.USAGE
    for words in ("shop", "{prot}", "more than one", "empty command", "{hots}"):
        assert words in ended.err


@pytest.mark.parametrize("arguments", ["list", "--help"])
def test_a_closed_pipe_never_looks_like_lost_money(arguments: str) -> None:
    line = f"{STORMPROOF} {arguments} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=30)
    assert done.returncode != ExitCode.FAIL
