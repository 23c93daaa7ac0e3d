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
    _compare(folder / "run.json", record, quiet=as_json)
    if as_json:
        print(record.model_dump_json())
    else:
        show_panel(record, folder)
    return record.exit_code


def _compare(path: Path, record: RunRecord, *, quiet: bool) -> None:
    """Raise `EvidenceError` unless the stored record is the one that the journal gives."""
    if not path.exists():
        if not quiet:
            Console(highlight=False).print("no run.json to compare with: the journal alone speaks")
        return
    try:
        held = RunRecord.model_validate_json(path.read_text("utf-8"))
    except ValueError as error:
        raise EvidenceError(
            "run.json cannot be read", value=str(error)[:200], where=str(path)
        ) from None
    differing = [
        name for name in RunRecord.model_fields if getattr(held, name) != getattr(record, name)
    ]
    if differing:
        raise EvidenceError(
            "run.json says something else than the journal",
            value=f"verdict {held.verdict} and {record.verdict}; differing: {', '.join(differing)}",
            where=str(path),
            fix="the journal decides: run.json was edited, or made by another stormproof",
        )


def report(folder: RunFolder) -> int:
    """Write the reports of a stored run again."""
    if not (folder / "run.json").exists():
        raise UsageError("no run there", value=str(folder), fix="name a run directory")
    console = Console(highlight=False)
    for path in wiring.render_folder(folder):
        console.print(str(path))
    return 0
