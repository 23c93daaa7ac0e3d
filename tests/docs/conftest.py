"""A clone with every file that the how-tos tell to add, and a small stored run in it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import wiring
from harness.core.journal import SEAL, Journal
from tests.docs.markdown import ROOT, blocks, tracked
from tests.unit.oracle.builder import healthy, journal

SECONDS_MAX = 90
Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, which shares our `.venv`; no file of the copy is edited."""
    folder = tmp_path_factory.mktemp("docs") / "clone"
    added = {block.mark.removeprefix("file: "): block.text for block in blocks()
             if block.mark.startswith("file: ")}  # fmt: skip
    for name in tracked():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, path)
    for name, text in added.items():
        path = folder / name
        assert not path.exists(), f"a how-to adds {name}, which is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    _store_run(folder / "runs" / "20260101T000000Z-storm-0a1b2c")
    return folder


def _store_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    world = healthy(3, wanted=("applied-exactly-once", "ledger-balanced", "nothing-stuck"))
    written = Journal(folder / "journal.ndjson")
    for record in journal(world):
        if record.type != SEAL:
            written.write(record.type, record.data, at_ns=written.start_ns + record.at_ns)
    written.seal()
    record = wiring.judge_folder(folder)
    (folder / "run.json").write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    (folder.parent / "latest").symlink_to(folder.name)


@pytest.fixture(scope="session")
def shell(clone: Path) -> Shell:
    """Runs a line in that clone, as somebody who reads the documents would."""
    env = {**os.environ, "PYTHONPATH": str(clone), "COLUMNS": "200", "NO_COLOR": "1"}

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", line], cwd=clone, env=env, text=True, timeout=SECONDS_MAX,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return run
