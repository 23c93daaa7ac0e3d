"""Scenarios: one outage story each, as a value that the engine carries out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.core.cast import Cast
from harness.core.fault import Fault
from harness.core.registry import Registry

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
    that shows the undisturbed exchange; `invariants` are names. With fewer operations under load
    than `operations_min` nothing is shown.
    """

    load: Load
    invariants: tuple[str, ...]
    faults: tuple[Fault, ...] = ()
    prepare: Load | None = None
    baseline: Load | None = None
    operations_min: int = 1


@dataclass(frozen=True)
class Plan:
    """What a scenario is given to write its story: the cast, and how the target is laid out."""

    cast: Cast
    entries: tuple[str, ...]

    def entry(self, number: int) -> str:
        """The entry that the first attempt of journey `number` uses: journeys alternate."""
        return self.entries[number % len(self.entries)]


ScenarioFunction = Callable[[Plan], Story]
scenarios: Registry[ScenarioFunction] = Registry("scenario")


def scenario(name: str) -> Callable[[ScenarioFunction], ScenarioFunction]:
    """Register a function that writes the story; its docstring asks the scenario's question."""
    return scenarios.decorator(name)
