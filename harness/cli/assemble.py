"""Turns what was asked for into a run that can be carried out, or into a usage error."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli import wiring
from harness.core import clock
from harness.core.errors import NothingRanError, UsageError
from harness.core.fault import faults
from harness.core.scenario import scenarios
from harness.core.seeds import fresh_id
from harness.engine.profiles import profile_named
from harness.engine.run import Run, RunOptions, Tools

DEFAULT_PROFILE = "smoke"


@dataclass(frozen=True)
class RunRequest:
    """What somebody asked for, by name. `proxy_argv` is another proxy's command, for tests that
    sabotage it; no option of the product leads there."""

    seed: int
    names: tuple[str, ...] = ()
    profile: str = ""
    target: str = "investment"
    stack: str = "embedded"
    variant: str = ""
    max_seconds: float = 900.0
    runs: Path = Path("runs")
    proxy_argv: Sequence[str] = wiring.PROXY_ARGV


def assemble(request: RunRequest) -> Run:
    """The run that was asked for.

    Raises `UsageError` for unknown names, and `NothingRanError` when no selected scenario fits.
    """
    wiring.discover()
    target = wiring.target_named(request.target)
    selected, title = _selection(list(request.names), request.profile)
    run_id = fresh_id()
    stamp = clock.utc_now().strftime("%Y%m%dT%H%M%SZ")
    options = RunOptions(
        scenario_names=tuple(selected),
        profile=title,
        seed=request.seed,
        stack_kind=request.stack,
        variant=request.variant,
        max_seconds=request.max_seconds,
        command=_command(request),
        run_id=run_id,
        folder=request.runs / f"{stamp}-{title}-{run_id}",
        commit=wiring.commit(),
        versions=wiring.versions(),
        unused_scenarios=tuple(e.name for e in scenarios if e.name not in selected),
        known_faults=tuple(e.name for e in faults),
    )
    make_stack = wiring.stack_maker(
        request.stack,
        target,
        run_id=run_id,
        seed=request.seed,
        edits=wiring.variant_edits(request.variant, target),
        proxy_argv=request.proxy_argv,
        ready_seconds=min(wiring.READY_SECONDS, request.max_seconds),
    )
    tools = Tools(make_stack, wiring.judge_folder, wiring.render_folder)
    run = Run(target, options, tools)
    _drop_ineligible(run)
    return run


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
    profile = profile or DEFAULT_PROFILE
    found = profile_named(profile, wiring.PROFILES)
    for name in found.scenarios:
        scenarios.get(name, where=f"profile {profile} in {wiring.PROFILES.name}")
    return list(found.scenarios), profile


def _drop_ineligible(run: Run) -> None:
    """A scenario needs the links that its faults are aimed at."""
    links = {link.name for link in run.target.spec.links}
    missing = {
        name: sorted({fault.link for fault in story.faults} - links)
        for name, (_, story) in run.stories.items()
    }
    for name in [name for name, lacks in missing.items() if lacks]:
        del run.stories[name]
    if not run.stories:
        reasons = "; ".join(f"{name} needs {', '.join(lacks)}" for name, lacks in missing.items())
        raise NothingRanError(
            "no selected scenario can run on this target",
            value=reasons,
            where=run.target.spec.name,
            fix="see: stormproof list scenarios",
        )


def _command(request: RunRequest) -> str:
    words = ["stormproof", "run", *request.names]
    if not request.names:
        words += ["--profile", request.profile or DEFAULT_PROFILE]
    words += ["--seed", str(request.seed)]
    for option, value, usual in (
        ("--target", request.target, "investment"),
        ("--stack", request.stack, "embedded"),
        ("--variant", request.variant, ""),
    ):
        if value != usual:
            words += [option, value]
    return shlex.join(words)
