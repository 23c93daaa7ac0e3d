"""The door of the tiny service."""

import json
from collections.abc import Callable, Mapping

from harness.core.target import (
    Books,
    Operation,
    Outcome,
    Reading,
    Reply,
    Request,
    Rules,
    classify,
    target,
)

_PATHS = {
    "create-user": ("POST", "/users"),
    "fund": ("POST", "/wallets/{user}/deposits"),
    "await-job": ("GET", "/jobs/{job}"),
    "create-investment": ("POST", "/investments"),
    "execute-investment": ("POST", "/investments/{investment}/execute"),
    "cancel-investment": ("POST", "/investments/{investment}/cancel"),
    "read-wallet": ("GET", "/wallets/{user}"),
    "read-investment": ("GET", "/investments/{investment}"),
}


class TinyClients:
    def request(self, operation: Operation, attempt: int) -> Request:
        method, path = _PATHS[operation.kind]
        headers = {"Authorization": f"Bearer {operation.secret}", "X-Operation": operation.id}
        body = b""
        if method == "POST":
            headers |= {"Idempotency-Key": operation.key, "Content-Type": "application/json"}
            content = {"amount_minor": str(operation.amount_minor), **operation.params}
            if operation.kind == "create-user":
                content = {"user_id": operation.user, "token": operation.user_secret}
            body = json.dumps(content).encode()
        entry = ("one", "two")[(operation.number + attempt) % 2]
        path = path.format(user=operation.user, **operation.params)
        return Request(method, path, entry, headers, body)

    def read(self, operation: Operation, reply: Reply) -> Reading:
        try:
            content = json.loads(reply.body) if reply.status else {}
        except ValueError:
            return Reading(Outcome.INFO, again=True)
        outcome = classify(reply.status, retryable=content.get("retryable"))
        again = outcome is Outcome.INFO
        if operation.kind == "await-job" and outcome is Outcome.OK:
            again = content["state"] == "RUNNING"
            outcome = Outcome.FAIL if content["state"] == "FAILED" else outcome
        ids = {"job": "job_id", "investment": "investment_id"}
        learned = {name: content[key] for name, key in ids.items() if content.get(key)}
        subject = operation.params.get("investment", "") or learned.get("investment", "")
        return Reading(outcome, again=again, subject=subject, learned=learned)

    def final_read(self, operation: Operation) -> Operation:
        return operation


class NoLedger:
    def books(self, *, dsn: str, urls: Mapping[str, str]) -> Books:
        return Books()


@target("tiny")
class Tiny:
    """The tiny service."""

    clients = TinyClients()
    ledger = NoLedger()
    rules = Rules()

    def secrets(self, derive: Callable[[str], str]) -> dict[str, str]:
        return {"ADMIN_TOKEN": derive("admin")}

    def recovery_window_seconds(self, settings: Mapping[str, str]) -> float:
        return 1.0
