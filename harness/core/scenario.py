"""Scenarios: one outage story each, as a value that the engine carries out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.core.fault import Fault
from harness.core.registry import Registry
from harness.core.seeds import Seed

Driver = Literal["threads", "locust"]


@dataclass(frozen=True)
class Load:
    """What clients do in one phase: journeys of a workload, by number.

    `clients` journeys run at once. With `in_rounds`, journeys run in groups of `clients` that
    start together, and the next group waits for the last one to end.
    """

    workload: str
    numbers: range
    clients: int
    driver: Driver = "threads"
    in_rounds: bool = False
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """What happens in a scenario, in this order: prepare, baseline, then faults with load.

    `prepare` runs without faults and is not judged as load; `baseline` is the fault-free load
    that shows the undisturbed exchange; `invariants` are names.
    """

    load: Load
    invariants: tuple[str, ...]
    faults: tuple[Fault, ...] = ()
    prepare: Load | None = None
    baseline: Load | None = None


@dataclass(frozen=True)
class Plan:
    """What a scenario is given to write its story: chance, and how the target is laid out."""

    name: str
    seed: Seed
    entries: tuple[str, ...]

    def trace(self, number: int) -> str:
        """The trace id of journey `number`, fixed before it starts."""
        return self.seed.child("trace", number).hex(32)

    def amount_minor(self, number: int) -> int:
        """The amount that journey `number` moves; unique in the whole run."""
        return amount_minor(self.seed, number)

    def entry(self, number: int, attempt: int = 0) -> str:
        """The entry that an attempt of journey `number` uses: journeys alternate, so do retries."""
        return self.entries[(number + attempt) % len(self.entries)]


_SLOT = 10_000


def amount_minor(seed: Seed, number: int) -> int:
    """An amount that no other journey of the run has: the scenario's own block, then the number.

    The block is drawn from the seed's path, so that amounts follow from seed and number alone.
    Raises `ValueError` for numbers that leave the block.
    """
    if not 0 <= number < _SLOT:
        raise ValueError(f"journey number {number} is not in 0..{_SLOT - 1}")
    block = int(seed.child("amounts").hex(7), 16) % 90_000 + 10_000
    return block * _SLOT + number


ScenarioFunction = Callable[[Plan], Story]
scenarios: Registry[ScenarioFunction] = Registry("scenario")


def scenario(name: str) -> Callable[[ScenarioFunction], ScenarioFunction]:
    """Register a function that writes the story; its docstring asks the scenario's question."""
    return scenarios.decorator(name)
