"""Variants: changed copies of a target, made by exact edits, that a run can be pointed at."""

import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core.errors import UsageError, unknown_name
from harness.core.target import TargetSpec


class Edit(BaseModel):
    """One change: in `file`, the text `anchor`, which must stand there exactly once, becomes
    `replacement`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str
    anchor: str
    replacement: str


class Variant(BaseModel):
    """A changed copy of a target: what it breaks, which invariants must notice, under which
    schedule class, and the edits. A benign variant is noticed by none."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    summary: str
    breaks: str = ""
    noticed_by: tuple[str, ...] = ()
    schedule: str = ""
    includes: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = Field(default=())


def load_variants(folder: Path) -> dict[str, Variant]:
    """All variants of a folder by id; raises `UsageError` for a file that is not one."""
    found: dict[str, Variant] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            variant = Variant(**tomllib.loads(path.read_text("utf-8")))
        except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
            raise UsageError(
                "a variant cannot be read",
                value=str(error)[:300],
                where=str(path),
                fix="see docs/how-to/add-a-variant.md",
            ) from None
        if variant.id != path.stem:
            raise UsageError(
                "a variant's id is not its file's name", value=variant.id, where=str(path)
            )
        found[variant.id] = variant
    return found


def edits_of(
    variant: Variant, known: dict[str, Variant], *, path: tuple[str, ...] = ()
) -> Iterable[Edit]:
    """The edits of the variants that it includes, then its own; `UsageError` for a circle."""
    path = (*path, variant.id)
    for name in variant.includes:
        if name in path:
            raise UsageError("variants include each other", value=" → ".join((*path, name)))
        if name not in known:
            raise unknown_name("variant", name, known, where=f"includes of {variant.id}")
        yield from edits_of(known[name], known, path=path)
    yield from variant.edits


def make_copy(spec: TargetSpec, edits: Iterable[Edit], destination: Path) -> None:
    """Copy a target's source folders and apply edits; each anchor must match exactly once."""
    for name in spec.source:
        shutil.copytree(
            spec.folder / name, destination / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for edit in edits:
        path = destination / edit.file
        if not path.resolve().is_relative_to(destination.resolve()):
            raise UsageError(
                "a variant edits a file outside the target",
                value=edit.file,
                fix="name a file below the folders that target.toml lists as source",
            )
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise UsageError(
                "a variant edits a missing file", value=edit.file, where=str(error)
            ) from None
        count = text.count(edit.anchor)
        if count != 1:
            raise UsageError(
                f"a variant's anchor matches {count} times, not once",
                value=edit.anchor.strip()[:120],
                where=edit.file,
                fix="the target changed: bring the variant's anchor up to date",
            )
        path.write_text(text.replace(edit.anchor, edit.replacement), "utf-8")
