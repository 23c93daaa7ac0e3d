"""The proxy's only source of chance: generators seeded by constants that the harness sends."""

from __future__ import annotations

import random

DEFAULT_SEED = 20240229

Generator = random.Random


def generator(seed: int, connection: int, stream: str, toxic: str = "") -> Generator:
    """A generator for one toxic on one direction of one connection, whatever the others do."""
    return random.Random(f"{seed}:{toxic}:{connection}:{stream}")
