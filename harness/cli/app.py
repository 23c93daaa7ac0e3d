"""Every command of stormproof; `--help` is the reference."""

import typer

from harness.cli import catalogue, running, stored
from harness.core.exit_codes import ExitCode

_CODES = "\n\n".join(f"{int(code):>4}  {code.sentence}" for code in ExitCode)

app = typer.Typer(
    name="stormproof",
    help="Breaks a service that moves money, on purpose, and proves that no money is lost.",
    epilog=f"Exit codes:\n\n{_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
running.add_to(app)
stored.add_to(app)
catalogue.add_to(app)
