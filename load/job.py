"""Load jobs: one phase of load as data, so that another process can do the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from harness.core.cast import Cast
from harness.core.errors import UsageError
from harness.core.scenario import Load
from load.perform import Limits


@dataclass(frozen=True)
class LoadJob:
    """Which journeys of a workload are to run, by how many clients, against which addresses.

    `entries` are the base URLs by name, `target` is the target's folder, `known` is what earlier
    phases learned, by journey number. The whole job is over after `max_seconds`. With `per_second`
    journeys begin at that rate, as long as a client is free, however long the earlier ones take.
    """

    workload: str
    numbers: tuple[int, ...]
    clients: int
    cast: Cast
    entries: dict[str, str]
    target: Path
    in_rounds: bool = False
    per_second: float = 0.0
    params: dict[str, str] = field(default_factory=dict)
    known: dict[int, dict[str, str]] = field(default_factory=dict)
    max_seconds: float = 60.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.clients < 1 or not self.numbers or len(set(self.numbers)) != len(self.numbers):
            raise UsageError(
                "a load needs clients and different journey numbers",
                value=f"{self.clients} clients, {len(self.numbers)} numbers",
                where=f"load of {self.workload} in {self.cast.scenario}",
            )

    @classmethod
    def of(
        cls,
        load: Load,
        *,
        cast: Cast,
        entries: Mapping[str, str],
        target: Path,
        known: Mapping[int, Mapping[str, str]] | None = None,
        max_seconds: float = 60.0,
    ) -> "LoadJob":
        """The job for one load of a story."""
        return cls(
            workload=load.workload,
            numbers=tuple(load.numbers),
            clients=load.clients,
            cast=cast,
            entries=dict(entries),
            target=target,
            in_rounds=load.in_rounds,
            params=dict(load.params),
            known={number: dict(ids) for number, ids in (known or {}).items()},
            max_seconds=max_seconds,
        )

    def to_json(self) -> bytes:
        """The job as JSON; it holds no secret but the seed."""
        return orjson.dumps(self, default=str, option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def from_json(cls, text: bytes) -> "LoadJob":
        """The job that `to_json` was given."""
        return TypeAdapter(cls).validate_json(text)


@dataclass(frozen=True)
class LoadResult:
    """How a job ended: every journey is either in `known` or, with the reason, in `stopped`."""

    known: dict[int, dict[str, str]]
    stopped: dict[int, str]
    started_ns: int
    ended_ns: int

    def intended_ns(self, job: LoadJob) -> dict[int, int]:
        """When each journey of a paced job was to begin, by its number."""
        gap_ns = 1e9 / job.per_second
        return {n: self.started_ns + round(i * gap_ns) for i, n in enumerate(job.numbers)}
