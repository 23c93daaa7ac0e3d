"""Commands that say what there is: `list` and `describe`."""

import inspect
import json
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli import wiring
from harness.core.errors import unknown_name
from harness.core.fault import faults
from harness.core.scenario import scenarios
from harness.engine.profiles import load_profiles
from harness.oracle.invariant import invariants
from load.workload import workloads

Rows = list[tuple[str, str]]


def _variants() -> Rows:
    return [(variant.id, variant.summary) for variant in wiring.all_variants().values()]


def _profiles() -> Rows:
    return [(name, profile.summary) for name, profile in load_profiles(wiring.PROFILES).items()]


_KINDS: dict[str, Callable[[], Rows]] = {
    "scenarios": lambda: [(entry.name, entry.summary) for entry in scenarios],
    "faults": lambda: [(entry.name, entry.summary) for entry in faults],
    "invariants": lambda: [(entry.name, entry.summary) for entry in invariants],
    "workloads": lambda: [(entry.name, entry.summary) for entry in workloads],
    "variants": _variants,
    "profiles": _profiles,
}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command("list", epilog="Example: stormproof list scenarios")(list_)
    app.command(epilog="Example: stormproof describe applied-exactly-once")(describe)


def list_(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(_KINDS)}. All when empty.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """List what there is, each with its first sentence."""
    wiring.discover()
    if kind and kind not in _KINDS:
        raise unknown_name("kind", kind, _KINDS, where="stormproof list")
    chosen = [kind] if kind else list(_KINDS)
    found = {name: _KINDS[name]() for name in chosen}
    if as_json:
        print(json.dumps({name: dict(rows) for name, rows in found.items()}, indent=2))
        return 0
    console = Console(highlight=False)
    for name, rows in found.items():
        table = Table(title=name, title_justify="left", box=None, show_header=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    return 0


def describe(name: Annotated[str, typer.Argument(help="The name of anything listed.")]) -> int:
    """Show the whole description of one thing."""
    wiring.discover()
    console = Console(highlight=False)
    known = []
    for registry in (scenarios, faults, invariants, workloads):
        for entry in registry:
            known.append(entry.name)
            if entry.name == name:
                console.print(f"[bold]{registry.kind} {entry.name}[/]  ({entry.module})")
                console.print(inspect.cleandoc(entry.doc), markup=False)
                console.print()
    variants = wiring.all_variants()
    if name in variants:
        console.print(f"[bold]variant {name}[/]")
        console.print(variants[name].model_dump_json(indent=2), markup=False)
    profiles = load_profiles(wiring.PROFILES)
    if name in profiles:
        console.print(f"[bold]profile {name}[/]")
        console.print(f"{profiles[name].summary}\n{', '.join(profiles[name].scenarios)}")
    everything = {*known, *variants, *profiles}
    if name not in everything:
        raise unknown_name("name", name, everything, where="stormproof describe")
    return 0
