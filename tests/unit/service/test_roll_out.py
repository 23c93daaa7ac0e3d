"""Who is in a cohort, and what a canary makes of its figures."""

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from investment import canary, flags
from investment.canary import Figures
from investment.flags import bucket, in_cohort
from investment.settings import Settings

USERS = [uuid5(UUID(int=7), str(number)) for number in range(5000)]
SETTINGS = Settings(
    database_url="postgresql+psycopg://nobody@127.0.0.1:1/none",
    canary_min_samples=50,
    canary_max_error_share=0.02,
    canary_max_p99_ms=1000,
    canary_min_success_share=0.95,
)
HEALTHY = Figures(requests=200, failed=4, p99_ms=1000, jobs=100, succeeded=95)


@pytest.mark.parametrize(
    ("flag", "salt", "user", "expected"),
    [
        (flags.MASTER, "s1", UUID(int=1), 695),
        (flags.MASTER, "s2", UUID(int=1), 5487),
        (flags.EXECUTION, "s1", UUID(int=1), 7696),
        (flags.EXECUTION, "s1", UUID(int=2), 436),
    ],
)
def test_buckets_are_those_of_the_definition(
    flag: str, salt: str, user: UUID, expected: int
) -> None:
    """Computed apart from the service: printf '%s' flag:salt:user | sha256sum, 16 digits."""
    assert bucket(flag, salt, user) == expected


def test_every_process_has_the_same_buckets() -> None:
    script = (
        "from uuid import UUID; from investment.flags import bucket; "
        "print([bucket('f', 's', UUID(int=n)) for n in range(20)])"
    )
    folder = Path(flags.__file__).parents[1]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {str([bucket("f", "s", UUID(int=n)) for n in range(20)])}


def test_nobody_at_0_everybody_at_100_and_nobody_leaves_when_it_grows() -> None:
    before: set[UUID] = set()
    for pct in range(101):
        now = {user for user in USERS[:1000] if in_cohort("f", "s", user, pct=pct)}
        assert before <= now
        before = now
        assert pct or not now
    assert len(before) == 1000


@pytest.mark.parametrize("pct", [1, 5, 25, 50])
@pytest.mark.parametrize("flag", flags.ALL)
def test_shares_are_within_the_bounds_of_chance(flag: str, pct: int) -> None:
    share, count = pct / 100, len(USERS)
    found = sum(in_cohort(flag, "salt", user, pct=pct) for user in USERS)
    # 3.29 standard deviations: 99.9 %.
    assert abs(found - count * share) <= 3.29 * math.sqrt(count * share * (1 - share))


def test_cohorts_of_two_flags_are_independent() -> None:
    first, second = (
        {user for user in USERS if in_cohort(flag, "salt", user, pct=50)}
        for flag in (flags.MASTER, flags.EXECUTION)
    )
    both, count = len(first & second), len(USERS)
    assert abs(both - count / 4) <= 3.29 * math.sqrt(count * 3 / 16)


def test_healthy_figures_at_the_very_thresholds() -> None:
    assert HEALTHY.breach(SETTINGS) is None
    assert HEALTHY.suffice(flags.EXECUTION, SETTINGS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"failed": 5}, "2.0% of the requests failed"),
        ({"p99_ms": 1001}, "p99 is above 1000 ms"),
        ({"succeeded": 94}, "95.0% of the jobs"),
    ],
)
def test_each_threshold_bites(change: dict[str, int], words: str) -> None:
    assert words in (replace(HEALTHY, **change).breach(SETTINGS) or "")


def test_too_few_samples_decide_nothing() -> None:
    few = Figures(requests=49, failed=49, p99_ms=60_000, jobs=49, succeeded=0)
    assert few.breach(SETTINGS) is None
    assert not few.suffice(flags.MASTER, SETTINGS)


def test_flags_that_executions_need_go_on_by_executions() -> None:
    without = replace(HEALTHY, jobs=0, succeeded=0)
    assert without.suffice(flags.MASTER, SETTINGS)
    assert not without.suffice(flags.EXECUTION, SETTINGS)
    assert not without.suffice(flags.EXTERNAL, SETTINGS)


def test_a_late_wake_up_stores_nothing_and_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "_FLUSH_S", 0)
    sampler = canary.Sampler(SETTINGS)
    sampler._arrived.set()
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        time.sleep(0.01)
    assert not sampler._arrived.is_set()


def test_steps_are_those_of_the_process() -> None:
    assert canary.STEPS == (1, 5, 25, 50, 100)
