"""Sections of the report: one file each in `reports/sections/`, found by listing the folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.core.registry import Registry
from reports.content import Block
from reports.run import Run

SectionFunction = Callable[[Run], Sequence[Block]]


@dataclass(frozen=True)
class Section:
    """A registered section: where it stands, and whether the short summary has it too."""

    name: str
    title: str
    order: int
    in_summary: bool
    build: SectionFunction


@dataclass(frozen=True)
class Built:
    """A section with what it says about one run."""

    section: Section
    blocks: tuple[Block, ...]


sections: Registry[Section] = Registry("section")


def section(
    name: str, *, title: str, order: int, in_summary: bool = True
) -> Callable[[SectionFunction], SectionFunction]:
    """Register a function that returns content for a run; with nothing to say it returns none."""

    def register(build: SectionFunction) -> SectionFunction:
        sections.add(name, Section(name, title, order, in_summary, build), documented=build)
        return build

    return register


def build(run: Run) -> tuple[Built, ...]:
    """Every section that has something to say about this run, in reading order."""
    sections.discover("reports.sections")
    ordered = sorted((entry.value for entry in sections), key=lambda s: (s.order, s.name))
    built = (Built(section, tuple(section.build(run))) for section in ordered)
    return tuple(one for one in built if one.blocks)
