"""Fixtures that need a container engine, and the one reason for which they may be skipped."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

# testcontainers' reaper is an image that an offline machine does not have; the fixtures below
# end their containers themselves.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from testcontainers.community.postgres import PostgresContainer  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NO_ENGINE = "no container engine answers"


def engine_answers() -> bool:
    """Whether an engine is there; a client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def compose_commands() -> list[list[str]]:
    """Every compose that is installed here: the plugin, the older program of its own, or both."""
    found = []
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run([*command, "version"], capture_output=True, timeout=30, check=False)
        if done.returncode == 0:
            found.append(command)
    return found


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips, with one reason, where nothing could run a container."""
    if not engine_answers():
        pytest.skip(NO_ENGINE)


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, str]:
    """The images that the compose file names, built or pulled by the project's own script."""
    done = subprocess.run(
        [ROOT / "containers/build-images.sh"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"build-images.sh: {done.stdout}{done.stderr}"
    return {
        "postgres": os.environ.get("STORMPROOF_POSTGRES_IMAGE", "postgres:18"),
        "valkey": os.environ.get("STORMPROOF_VALKEY_IMAGE", "valkey/valkey:9"),
    }


@pytest.fixture
def run_label() -> str:
    """A run's name of its own, so that nobody else's containers are ever counted."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def second_postgres(images: dict[str, str], run_label: str) -> Iterator[PostgresContainer]:
    """A PostgreSQL of the test's own beside the stack's, by testcontainers."""
    container = PostgresContainer(
        images["postgres"],
        username="second-user",
        password="it's a secret",
        dbname="second-db",
        driver=None,
        labels={"stormproof.run": run_label},
    )
    with container:
        yield container
