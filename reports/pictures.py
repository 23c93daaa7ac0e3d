"""Finds the pictures in what sections said."""

from collections.abc import Iterable, Iterator

from reports.content import Block, Group, Picture
from reports.section import Built


def pictures(sections: Iterable[Built]) -> Iterator[Picture]:
    """Every picture of the report, in order."""
    for built in sections:
        yield from _of(built.blocks)


def _of(blocks: Iterable[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Group):
            yield from _of(block.blocks)
