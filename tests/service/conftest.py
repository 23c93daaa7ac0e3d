"""A small client for the running service: real HTTP, both API processes, real books."""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg
import pytest
import urllib3

from tests.service.rollout import Flags
from tests.service.scratch import Beside, service_beside

PREFIX = "/api/v1/investment"
TERMINAL = ("SUCCEEDED", "FAILED", "REVIEW")


@dataclass(frozen=True)
class Reply:
    status: int
    content: bytes
    headers: urllib3.HTTPHeaderDict

    @property
    def document(self) -> dict:
        return json.loads(self.content)

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


@dataclass(frozen=True)
class User:
    user_id: str
    token: str


@dataclass
class Service:
    """The service as a client sees it; requests alternate between its API processes."""

    urls: list[str]
    admin_token: str
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=32, retries=False, timeout=10)
    )
    sent: int = 0

    def send(
        self,
        method: str,
        path: str,
        body: dict | None = None,
        *,
        token: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        api: int | None = None,
    ) -> Reply:
        """One exchange. A write gets a fresh key unless one is given."""
        self.sent += 1
        url = self.urls[(self.sent if api is None else api) % len(self.urls)]
        all_headers = {"Authorization": f"Bearer {token or self.admin_token}", **(headers or {})}
        if method in ("POST", "PUT"):
            all_headers.setdefault("Idempotency-Key", key or str(uuid4()))
        response = self.pool.request(
            method,
            url + path,
            body=None if body is None else json.dumps(body),
            headers=all_headers | ({"Content-Type": "application/json"} if body else {}),
        )
        return Reply(response.status, response.data, response.headers)

    def get(self, path: str, *, token: str | None = None) -> dict:
        reply = self.send("GET", PREFIX + path, token=token)
        assert reply.status == 200, reply.content
        return reply.document

    def user(self, funds_minor: int = 0, *, user_id: str | None = None) -> User:
        token = secrets.token_urlsafe(32)
        body = {"user_id": user_id or str(uuid4()), "currency": "EUR", "token": token}
        reply = self.send("POST", f"{PREFIX}/users", body)
        assert reply.status == 201, reply.content
        user = User(reply.document["user_id"], token)
        if funds_minor:
            assert self.finish(self.deposit(user, funds_minor))["state"] == "SUCCEEDED"
        return user

    def deposit(self, user: User, amount_minor: int, *, reference: str | None = None) -> Reply:
        body = {
            "amount_minor": str(amount_minor),
            "currency": "EUR",
            "reference": reference or str(uuid4()),
        }
        return self.send("POST", f"{PREFIX}/wallets/{user.user_id}/deposits", body)

    def create(self, user: User, amount_minor: int, **options: str) -> Reply:
        body = {"amount_minor": str(amount_minor), "currency": "EUR", "instrument": "FUND-A"}
        return self.send("POST", f"{PREFIX}/investments", body, token=user.token, **options)

    def investment(self, user: User, amount_minor: int) -> str:
        reply = self.create(user, amount_minor)
        assert reply.status == 201, reply.content
        return reply.document["investment_id"]

    def execute(self, user: User, investment_id: str, **options: object) -> Reply:
        path = f"{PREFIX}/investments/{investment_id}/execute"
        return self.send("POST", path, token=user.token, **options)

    def cancel(self, user: User, investment_id: str) -> Reply:
        return self.send("POST", f"{PREFIX}/investments/{investment_id}/cancel", token=user.token)

    def balance(self, user: User) -> int:
        return int(self.get(f"/wallets/{user.user_id}")["balance_minor"])

    def state(self, investment_id: str) -> str:
        return self.get(f"/investments/{investment_id}")["state"]

    def finish(self, accepted: Reply, timeout_s: float = 30) -> dict:
        """Wait until the accepted job is over."""
        assert accepted.status == 202, accepted.content
        deadline = time.monotonic() + timeout_s
        while True:
            job = self.get(f"/jobs/{accepted.document['job_id']}")
            if job["state"] in TERMINAL:
                return job
            assert time.monotonic() < deadline, f"not over after {timeout_s} s: {job}"
            time.sleep(0.01)


@pytest.fixture(scope="session")
def connect() -> type[Service]:
    """Makes a client of a service that a test runs by itself."""
    return Service


@pytest.fixture
def service(stack) -> Service:  # noqa: ANN001 - the stack fixture is the harness's
    return Service([stack.client_url("api-1"), stack.client_url("api-2")], stack.admin_token)


@pytest.fixture
def flags(service) -> Iterator[Flags]:  # noqa: ANN001
    """Flags that are on for everybody again when the test is over."""
    found = Flags(service)
    try:
        yield found
    finally:
        found.restore()


@pytest.fixture(scope="session")
def beside(stack, connect, tmp_path_factory) -> Iterator[Beside]:  # noqa: ANN001
    """A whole service on a database of its own, whose spans are received here."""
    with service_beside(stack, connect, tmp_path_factory.mktemp("beside")) as found:
        yield found


@pytest.fixture
def database(stack) -> Iterator[psycopg.Connection]:  # noqa: ANN001
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        yield connection


@dataclass
class Partner:
    url: str

    def executed(self, account: str) -> list[dict]:
        """The partner's own record of what it executed for an account."""
        content = urllib3.request("GET", f"{self.url}/journal").data
        records = [json.loads(line) for line in content.splitlines()]
        return [r for r in records if r["event"] == "executed" and r["account"] == account]

    def refuse(self, amount_minor: int, reason: str) -> None:
        body = json.dumps({"refuse_amounts": {str(amount_minor): reason}})
        assert urllib3.request("PUT", f"{self.url}/script", body=body).status == 200


@pytest.fixture
def partner(stack) -> Partner:  # noqa: ANN001
    return Partner(stack.partner_url)
