"""Fixtures that our own tests and a user's use: `stack`, `faults`, `history`."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.cli import wiring
from harness.core.cast import Cast
from harness.core.fault import Fault
from harness.core.history import Completed
from harness.core.seeds import fresh_id
from harness.core.stack import Stack
from harness.core.target import Target

SEED = 20_261_124
_ALLOWED = tomllib.loads((Path(__file__).parent / ".ci" / "ci.toml").read_text())["skips"]
_unlisted: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Servers of others that tests compare ours with."""
    parser.addoption("--toxiproxy", help="an installed toxiproxy-server 2.12")


@dataclass(frozen=True)
class RunningStack:
    """A booted stack with the addresses and secrets that tests need."""

    stack: Stack
    target: Target
    seed: int = SEED

    def entry_urls(self) -> dict[str, str]:
        """Where clients reach each entry, through its proxy."""
        return {entry: self.stack.entry_url(entry) for entry in self.target.spec.entries}

    def client_url(self, entry: str) -> str:
        """Where clients reach one entry, through its proxy."""
        return self.stack.entry_url(entry)

    def cast(self, scenario: str, slot: int = 90) -> Cast:
        """A cast of this stack's seed, whose users and amounts no other scenario name has."""
        return Cast(self.seed, scenario, slot)

    @property
    def admin_token(self) -> str:
        """The administrator's bearer token."""
        return Cast(self.seed, "any", 0).admin_token()

    @property
    def partner_url(self) -> str:
        """The partner, past every proxy."""
        return self.stack.direct_urls()["partner"]

    @property
    def postgres_dsn(self) -> str:
        """The database, past every proxy, as psycopg wants it."""
        return self.stack.dsn()


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """The embedded stack of the reference service, booted once for all tests."""
    wiring.discover()
    target = wiring.target_named("investment")
    make = wiring.stack_maker("embedded", target, run_id=f"test-{fresh_id()}", seed=SEED)
    running = make(lambda _name, _event, _pid: None)
    try:
        running.up()
        yield RunningStack(running, target)
    finally:
        running.down()


@dataclass
class Faults:
    """Injects faults and heals them all when the test ends."""

    stack: Stack
    applied: list[Fault] = field(default_factory=list)

    def inject(self, fault: Fault) -> Fault:
        """Put a fault in place until the test ends."""
        self.applied.append(fault)
        fault.inject(self.stack)
        return fault

    def heal(self) -> None:
        """Take every fault away again."""
        while self.applied:
            self.applied.pop().heal(self.stack)


@pytest.fixture
def faults(stack: RunningStack) -> Iterator[Faults]:
    """Faults on the running stack, healed at the test's end whatever happens."""
    found = Faults(stack.stack)
    try:
        yield found
    finally:
        found.heal()


@pytest.fixture
def history() -> list[Completed]:
    """What clients did in this test: hand `history.append` to a driver as its recorder."""
    return []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note every skip that nobody has allowed, by test or by file."""
    listed = report.nodeid in _ALLOWED or report.nodeid.split("::")[0] in _ALLOWED
    if report.skipped and not hasattr(report, "wasxfail") and not listed:
        _unlisted.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip that .ci/ci.toml does not list fails the run."""
    if _unlisted and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which skips were not allowed."""
    for nodeid in _unlisted:
        terminalreporter.write_line(f"FAILED (skip not listed in .ci/ci.toml): {nodeid}", red=True)
