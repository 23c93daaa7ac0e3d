"""Contract fuzzing of the running service, every operation with data that lets it succeed."""

import hmac
import json
from uuid import uuid4

import psycopg
import urllib3

from harness.core import clock
from harness.core.cast import Cast
from harness.core.waits import wait_until
from harness.stacks.embedded import EmbeddedStack
from load.contract import ContractReport, run_contract

PREFIX = "/api/v1/investment"
# What would make the others fail is tried after them, and the wallet is closed last of all.
LAST = ("PUT /flags/{key}", "PUT /canaries/{flag}", "POST /wallets/{user_id}/close")
# A fuzzer cannot sign what it makes up: it is refused, and one event is signed here.
SIGNED = "POST /partner-events"
EXAMPLES, SECONDS = 25, 240.0
Samples = dict[str, list[float]]


class Preparation:
    """A user who is an administrator too, with money and an investment for every operation."""

    def __init__(self, stack: EmbeddedStack, *, seed: int) -> None:
        self._stack, self._cast = stack, Cast(seed, "contract", 300)
        self._pool = urllib3.PoolManager(retries=False, timeout=10)
        self.url = stack.entry_url(stack.target.spec.entries[0])
        self.user_id, self.token = self._cast.user(0), self._cast.user_token(0)

    def send(self, method: str, path: str, body: object = None, *, token: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
        reply = self._pool.request(method, self.url + PREFIX + path, json=body, headers=headers)
        if reply.status >= 300:
            raise SystemExit(f"{method} {path}: {reply.status} {reply.data.decode()}")
        return json.loads(reply.data)

    def _finished(self, accepted: dict[str, str]) -> dict[str, str]:
        def state() -> str:
            return self.send("GET", f"/jobs/{accepted['job_id']}", token=self.token)["state"]

        wait_until(lambda: state() == "SUCCEEDED", what="a job to succeed", seconds=20)
        return accepted

    def _user(self, user_id: str, token: str) -> None:
        body = {"user_id": user_id, "token": token, "currency": "EUR"}
        self.send("POST", "/users", body, token=self._cast.admin_token())

    def deliver_signed_event(self) -> None:
        """One event as the partner would send it; raises `SystemExit` when it is not taken."""
        secret = self._stack.secrets["INVESTMENT_PARTNER_CALLBACK_SECRET"]
        event = {
            "event_id": str(uuid4()), "kind": "order.executed", "client_order_id": str(uuid4())
        }  # fmt: skip
        body, at = json.dumps(event).encode(), int(clock.utc_now().timestamp())
        mac = hmac.new(secret.encode(), f"{at}.".encode() + body, "sha256").hexdigest()
        headers = {
            "Content-Type": "application/json", "X-Partner-Signature": f"t={at},v1={mac}"
        }  # fmt: skip
        reply = self._pool.request(
            "POST", f"{self.url}{PREFIX}/partner-events", body=body, headers=headers
        )
        if reply.status != 202:
            raise SystemExit(f"a signed event was refused: {reply.status} {reply.data.decode()}")

    def own_parameters(self) -> dict[str, dict[str, str]]:
        """Ids by operation, each of a resource that the operation can succeed with."""
        self._user(self.user_id, self.token)
        with psycopg.connect(self._stack.dsn(), autocommit=True) as connection:
            connection.execute("UPDATE users SET role = 'admin' WHERE id = %s", (self.user_id,))
        deposit = {"amount_minor": "900000000", "currency": "EUR", "reference": str(uuid4())}
        paid = self.send("POST", f"/wallets/{self.user_id}/deposits", deposit, token=self.token)
        self._finished(paid)
        new = {"amount_minor": "1000", "currency": "EUR", "instrument": "FUND-A"}
        to_execute, to_cancel, executed = (
            self.send("POST", "/investments", new, token=self.token)["investment_id"]
            for _ in range(3)
        )
        self._finished(self.send("POST", f"/investments/{executed}/execute", token=self.token))
        event = {"dividend_event_id": str(uuid4()), "total_minor": "7", "currency": "EUR"}
        paid_out = self._finished(
            self.send("POST", f"/investments/{executed}/dividends", event, token=self.token)
        )
        batch = self.send("GET", f"/jobs/{paid_out['job_id']}", token=self.token)["subject_id"]
        empty = self._cast.user(1)
        self._user(empty, self._cast.user_token(1))
        own = {
            "POST /investments/{investment_id}/execute": {"path.investment_id": to_execute},
            "POST /investments/{investment_id}/cancel": {"path.investment_id": to_cancel},
            "POST /investments/{investment_id}/dividends": {"path.investment_id": executed},
            "GET /investments/{investment_id}": {"path.investment_id": executed},
            "GET /jobs/{job_id}": {"path.job_id": paid["job_id"]},
            "GET /dividends/{batch_id}": {"path.batch_id": batch},
            "GET /wallets/{user_id}": {"path.user_id": self.user_id},
            "POST /wallets/{user_id}/deposits": {"path.user_id": self.user_id},
            "POST /wallets/{user_id}/close": {"path.user_id": empty},
            "PUT /flags/{key}": {"path.key": "investment_module_enabled"},
            "PUT /canaries/{flag}": {"path.flag": "investment_module_enabled"},
        }
        return {name.replace(" ", f" {PREFIX}", 1): ids for name, ids in own.items()}


def bench_contract(stack: EmbeddedStack, *, seed: int) -> Samples:
    """Shares of answers by class; raises `SystemExit` for whatever the contract forbids."""
    ready = Preparation(stack, seed=seed)
    own = ready.own_parameters()
    ready.deliver_signed_event()
    last = tuple(name.replace(" ", f" {PREFIX}", 1) for name in LAST)
    document = ready.send("GET", "/openapi.json", token=ready.token)
    operations = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }
    reports: list[ContractReport] = [
        run_contract(
            document,
            base_url=ready.url,
            headers={"Authorization": f"Bearer {ready.token}"},
            seed=seed,
            max_examples=EXAMPLES,
            max_seconds=SECONDS,
            own_parameters=own,
            leave_out=tuple(left_out),
        )
        for left_out in (last, sorted(operations - set(last)))
    ]
    return _told(reports, operations)


def _told(reports: list[ContractReport], operations: set[str]) -> Samples:
    tried = [each for report in reports for each in report.operations]
    wrong = [f"{each.name}: no 2xx" for each in tried
             if not each.succeeded and not each.name.endswith(SIGNED.partition(" ")[2])]
    wrong += [f"{name}: not tried" for name in sorted(operations - {each.name for each in tried})]
    wrong += [f"{each.name}: {each.failed} × 5xx" for each in tried if each.failed]
    wrong += [f"{each.name}: {each.undeclared} undeclared" for each in tried if each.undeclared]
    wrong += [
        f"{failure.operation}: {failure.check}: {failure.title}: {failure.example}"
        for report in reports
        for failure in report.failures
    ]
    wrong += [error for report in reports for error in report.errors]
    wrong += ["time ran out" for report in reports if not report.complete]
    for each in tried:
        print(
            f"  {each.name:<60} {each.requests:>4} requests, {each.succeeded} × 2xx, "
            f"{each.refused} × 4xx (of these {each.limited} × 429), {each.failed} × 5xx"
        )
    if wrong:
        raise SystemExit("the contract was broken:\n  " + "\n  ".join(wrong))
    requests = sum(each.requests for each in tried)
    return {
        "contract_requests": [float(requests)],
        "contract_2xx_share": [round(sum(e.succeeded for e in tried) / requests, 3)],
        "contract_4xx_share": [round(sum(e.refused for e in tried) / requests, 3)],
        "contract_429_share": [round(sum(e.limited for e in tried) / requests, 3)],
    }
