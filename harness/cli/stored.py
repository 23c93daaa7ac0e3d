"""Commands on stored runs: `analyze` judges again, `report` renders again."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.cli import wiring
from harness.cli.console import show_panel
from harness.core.errors import EvidenceError, UsageError
from harness.core.run_record import RunRecord

RunFolder = Annotated[Path, typer.Argument(help="A run directory, e.g. runs/latest.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(epilog="Example: stormproof analyze runs/latest")(analyze)
    app.command(epilog="Example: stormproof report runs/latest")(report)


def analyze(
    folder: RunFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> int:
    """Judge a stored run again, from its journal alone, and compare with its `run.json`."""
    record = wiring.judge_folder(folder)
    if as_json:
        print(record.model_dump_json())
    else:
        show_panel(record, folder)
    stored = folder / "run.json"
    if stored.exists():
        try:
            held = RunRecord.model_validate_json(stored.read_text("utf-8"))
        except ValueError as error:
            raise EvidenceError("run.json cannot be read", value=str(error)[:200]) from None
        if (held.verdict, held.exit_code) != (record.verdict, record.exit_code):
            raise EvidenceError(
                "run.json says something else than the journal",
                value=f"run.json: {held.verdict}, journal: {record.verdict}",
                where=str(stored),
                fix="the journal decides: run.json was edited, or a newer stormproof judges anew",
            )
    return record.exit_code


def report(folder: RunFolder) -> int:
    """Write the reports of a stored run again."""
    if not (folder / "run.json").exists():
        raise UsageError("no run there", value=str(folder), fix="name a run directory")
    console = Console(highlight=False)
    for path in wiring.render_folder(folder):
        console.print(str(path))
    return 0
