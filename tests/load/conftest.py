"""Fixtures of the load tests: a tiny real service, its clients, and how to start a process."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from harness.core.cast import Cast
from harness.core.history import Completed
from harness.core.target import Clients, load_target
from load.job import LoadJob
from tests.load.service.server import TinyService

FOLDER = Path(__file__).parent / "service"
CAST = Cast(seed=7, scenario="storm", slot=3)


@pytest.fixture
def service() -> Iterator[TinyService]:
    with TinyService() as running:
        yield running


@pytest.fixture
def clients() -> Clients:
    return load_target(FOLDER).door.clients


@pytest.fixture
def done() -> list[Completed]:
    return []


@pytest.fixture
def make_job(service: TinyService) -> Callable[..., LoadJob]:
    def make(workload: str, count: int = 12, clients: int = 4, **more: object) -> LoadJob:
        return LoadJob(
            workload=workload,
            numbers=tuple(range(count)),
            clients=clients,
            cast=CAST,
            entries=service.entries,
            target=FOLDER,
            **more,
        )

    return make


@pytest.fixture
def spawn() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(
        argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int], log: Path
    ) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv, env=dict(env), pass_fds=tuple(pass_fds), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    start.started = started
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(5)
