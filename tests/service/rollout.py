"""Flags and cohorts as tests use them: set over HTTP, computed apart from the service."""

import hashlib
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg

PREFIX = "/api/v1/investment"
MASTER = "investment_module_enabled"
EXECUTION = "investment_execution_enabled"
DIVIDENDS = "dividend_distribution_enabled"
EXTERNAL = "external_investment_integrations_enabled"


class Flags:
    """The flags of the running service, as its administrator sets them."""

    def __init__(self, service) -> None:  # noqa: ANN001 - the fixture's class
        self.service = service

    def all(self) -> dict[str, dict]:
        return {flag["key"]: flag for flag in self.service.get("/flags")["flags"]}

    def put(self, flag: str, *, enabled: bool, pct: int, **options: object):  # noqa: ANN201
        version = options.pop("version", None) or self.all()[flag]["version"]
        body = {"enabled": enabled, "pct": pct, "version": version, "reason": "test of flags"}
        return self.service.send("PUT", f"{PREFIX}/flags/{flag}", body, **options)

    def set(self, flag: str, *, enabled: bool = True, pct: int = 100) -> None:
        reply = self.put(flag, enabled=enabled, pct=pct)
        assert reply.status == 200, reply.content

    def restore(self) -> None:
        """Every flag on for everybody, and no canary."""
        canaries = self.service.get("/canaries")["canaries"]
        running = {each["flag"] for each in canaries if each["state"] == "RUNNING"}
        for key, flag in self.all().items():
            if key in running or not flag["enabled"] or flag["pct"] != 100:
                self.set(key)


def bucket(key: str, salt: str, subject: UUID | str) -> int:
    digits = hashlib.sha256(f"{key}:{salt}:{subject}".encode()).hexdigest()[:16]
    return int(digits, 16) % 10_000


def salt_of(database: psycopg.Connection, key: str) -> str:
    found = database.execute("SELECT salt FROM feature_flags WHERE key = %s", [key]).fetchone()
    assert found is not None
    return found[0]


def users_of_first_step(database: psycopg.Connection, keys: list[str], count: int) -> list[UUID]:
    """Fresh users who are among the first per cent of all these flags."""
    salts = {key: salt_of(database, key) for key in keys}
    found: list[UUID] = []
    while len(found) < count:
        user = uuid4()
        if all(bucket(key, salt, user) < 100 for key, salt in salts.items()):
            found.append(user)
    return found


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
