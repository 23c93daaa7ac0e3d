"""Commands that run a stack: `run`, and the proxy alone."""

import contextlib
import math
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.assemble import RunRequest, assemble
from harness.cli.console import ConsoleListener, show_panel
from harness.core import interrupt
from harness.core.errors import HarnessError, UsageError
from harness.core.seeds import fresh_seed

_MAX_SECONDS = 900.0

Seed = Annotated[int | None, typer.Option(help="The one source of chance; drawn when not given.")]
TargetName = Annotated[str, typer.Option("--target", help="A target's name, or its folder.")]
StackKind = Annotated[str, typer.Option("--stack", help="embedded or compose.")]
MaxSeconds = Annotated[float, typer.Option(help="The whole run ends after this time.")]
VariantName = Annotated[str, typer.Option("--variant", help="Run a changed copy of the target.")]
Runs = Annotated[Path, typer.Option("--runs", help="Where run directories are made.")]
Json = Annotated[bool, typer.Option("--json", help="Print the run's record as JSON.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(epilog="Example: stormproof run partner-reply-lost --seed 7")(run)
    app.command(
        epilog="Example: stormproof proxy -port 8474",
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "help_option_names": [],
        },
    )(proxy)


def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]...", help="Scenarios to run.")
    ] = None,
    profile: Annotated[str, typer.Option(help="A named selection; smoke by default.")] = "",
    seed: Seed = None,
    target: TargetName = "investment",
    stack: StackKind = "embedded",
    max_seconds: MaxSeconds = _MAX_SECONDS,
    variant: VariantName = "",
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> int:
    """Break the target on purpose while clients move money, and judge what happened."""
    if not math.isfinite(max_seconds) or max_seconds <= 0:
        raise UsageError("--max-seconds must be a number above zero", value=str(max_seconds))
    request = RunRequest(
        names=tuple(names or ()),
        profile=profile,
        seed=fresh_seed() if seed is None else seed,
        target=target,
        stack=stack,
        variant=variant,
        max_seconds=max_seconds,
        runs=runs,
    )
    interrupt.install()
    work = assemble(request)
    with ConsoleListener(work.options, quiet=as_json) as listener:
        record = work.execute([listener])
    # The run is over and kept: who no longer reads what is printed still gets its exit code.
    with contextlib.suppress(OSError, SystemExit):
        if as_json:
            print(record.model_dump_json())
        else:
            show_panel(record, work.options.folder)
    return record.exit_code


def proxy(context: typer.Context) -> int:
    """Run the fault proxy alone, with the flags of Toxiproxy's server."""
    from fault_injection.proxy.__main__ import main

    if main(context.args):
        raise HarnessError(
            "the fault proxy ended with an error",
            value=" ".join(context.args),
            where="its last log line, above",
            fix="give -host and -port of an address that nobody else listens on",
        )
    return 0
