"""Commands that run a stack: `run`, and the proxy alone."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import wiring
from harness.cli.console import ConsoleListener, show_panel
from harness.core import clock, interrupt
from harness.core.errors import NothingRanError, UsageError
from harness.core.fault import faults
from harness.core.scenario import scenarios
from harness.core.seeds import fresh_id, fresh_seed
from harness.engine.profiles import profile_named
from harness.engine.run import Run, RunOptions, Tools

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
    if max_seconds <= 0:
        raise UsageError("--max-seconds must be above zero", value=str(max_seconds))
    wiring.discover()
    loaded = wiring.target_named(target)
    selected, title = _selection(names or [], profile)
    edits = wiring.variant_edits(variant)
    chosen_seed = fresh_seed() if seed is None else seed
    short_id = fresh_id()
    stamp = clock.utc_now().strftime("%Y%m%dT%H%M%SZ")
    options = RunOptions(
        scenario_names=tuple(selected),
        profile=title,
        seed=chosen_seed,
        stack_kind=stack,
        variant=variant,
        max_seconds=max_seconds,
        command=_command(names or [], profile, chosen_seed, target, stack, variant),
        run_id=short_id,
        folder=runs / f"{stamp}-{title}-{short_id}",
        commit=wiring.commit(),
        versions=wiring.versions(),
        unused_scenarios=tuple(e.name for e in scenarios if e.name not in selected),
        known_faults=tuple(e.name for e in faults),
    )
    listener = ConsoleListener(options, quiet=as_json)
    tools = Tools(
        make_stack=wiring.stack_maker(
            stack, loaded, run_id=short_id, seed=chosen_seed, edits=edits
        ),
        judge=wiring.judge_folder,
        render=wiring.render_folder,
        listeners=(listener,),
    )
    interrupt.install()
    work = Run(loaded, options, tools)
    _require_eligible(work)
    with listener:
        record = work.execute()
    if as_json:
        print(record.model_dump_json())
    else:
        show_panel(record, options.folder)
    return record.exit_code


def _selection(names: list[str], profile: str) -> tuple[list[str], str]:
    if names and profile:
        raise UsageError(
            "name scenarios or a profile, not both", value=f"{' '.join(names)} and {profile}"
        )
    for name in names:
        scenarios.get(name, where="the command line")
    if names:
        unique = list(dict.fromkeys(names))
        return unique, unique[0] if len(unique) == 1 else "selection"
    profile = profile or "smoke"
    found = profile_named(profile, wiring.PROFILES)
    for name in found.scenarios:
        scenarios.get(name, where=f"profile {profile} in {wiring.PROFILES.name}")
    return list(found.scenarios), profile


def _require_eligible(work: Run) -> None:
    """A scenario needs the links that its faults are aimed at."""
    links = {link.name for link in work.target.spec.links}
    missing = {
        name: sorted({fault.link for fault in story.faults} - links)
        for name, (_, story) in work.stories.items()
    }
    for name in [name for name, lacks in missing.items() if lacks]:
        del work.stories[name]
    if not work.stories:
        reasons = "; ".join(f"{name} needs {', '.join(lacks)}" for name, lacks in missing.items())
        raise NothingRanError(
            "no selected scenario can run on this target",
            value=reasons,
            where=work.target.spec.name,
            fix="see: stormproof list scenarios",
        )


def _command(
    names: list[str], profile: str, seed: int, target: str, stack: str, variant: str
) -> str:
    words = ["stormproof", "run", *names]
    if not names:
        words += ["--profile", profile or "smoke"]
    words += ["--seed", str(seed)]
    for option, value, usual in (
        ("--target", target, "investment"),
        ("--stack", stack, "embedded"),
        ("--variant", variant, ""),
    ):
        if value != usual:
            words += [option, value]
    return shlex.join(words)


def proxy(context: typer.Context) -> int:
    """Run the fault proxy alone, with the flags of Toxiproxy's server."""
    from fault_injection.proxy.__main__ import main

    return main(context.args)
