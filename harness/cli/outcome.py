"""Runs the application and turns how it ended into an exit code and an error that helps."""

import os
import sys
import traceback

import click
from rich.console import Console

from harness.core.errors import InterruptedRun, StormproofError
from harness.core.exit_codes import ExitCode


def run_app(arguments: list[str]) -> int:
    """The exit code of one command."""
    try:
        from harness.cli.app import app

        result = app(args=arguments, prog_name="stormproof", standalone_mode=False)
        return int(result or 0)
    except StormproofError as error:
        show_error(error)
        return int(error.exit_code)
    except InterruptedRun as stop:
        return int(stop.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except SystemExit:
        # Ours is never raised: this is a library's (a broken pipe ends as 1, which would say that
        # money was lost) or a target's.
        return int(ExitCode.HARNESS)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _other(error)


def _other(error: Exception) -> int:
    # Typer may bring a copy of click of its own, so its errors are known by what they offer.
    show = getattr(error, "show", None)
    if callable(show) and hasattr(error, "exit_code"):
        show()
        return int(ExitCode.USAGE)
    if type(error).__name__ == "Abort" or isinstance(error, click.Abort):
        return int(ExitCode.INTERRUPTED)
    if hasattr(error, "exit_code"):
        return int(error.exit_code)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{os.path.basename(last[0].filename)}:{last[0].lineno}" if last else ""
    show_error(
        StormproofError(
            "an unexpected error of stormproof",
            value=f"{type(error).__name__}: {error}",
            where=where,
            fix="this is a bug of ours: please report it; STORMPROOF_DEBUG=1 shows the trace",
        )
    )
    if os.environ.get("STORMPROOF_DEBUG"):
        traceback.print_exception(error)
    return int(ExitCode.HARNESS)


def show_error(error: StormproofError) -> None:
    """Print what happened, the value, where it came from and what to do next."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {_plain(error.what)}")
    for label, text in (("value", error.value), ("where", error.where), ("next", error.fix)):
        if text:
            console.print(f"  [dim]{label}:[/] {_plain(text)}")


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
