"""The door to the reference investment service: its clients, its books and its promises."""

import json
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.rows import class_row, tuple_row

from harness.core.target import (
    Balance,
    Books,
    ChartOfAccounts,
    Effect,
    HarnessError,
    Lifecycle,
    Operation,
    Outcome,
    PartnerEvent,
    PartnerOrder,
    Posting,
    Reading,
    Reply,
    Request,
    Rules,
    Standing,
    Subject,
    Transition,
    classify,
    target,
)

PREFIX = "/api/v1/investment"
ENTRIES = ("api-1", "api-2")
_DONE = {"SUCCEEDED": Outcome.OK, "FAILED": Outcome.FAIL}
_JOURNAL_SECONDS = 10

# Operation kind → method and path; `{…}` are parameters of the operation or its user.
ROUTES = {
    "create-user": ("POST", "/users"),
    "fund": ("POST", "/wallets/{user}/deposits"),
    "create-investment": ("POST", "/investments"),
    "execute-investment": ("POST", "/investments/{investment}/execute"),
    "cancel-investment": ("POST", "/investments/{investment}/cancel"),
    "distribute-dividends": ("POST", "/investments/{investment}/dividends"),
    "await-job": ("GET", "/jobs/{job}"),
    "read-wallet": ("GET", "/wallets/{user}"),
    "read-investment": ("GET", "/investments/{investment}"),
}


class InvestmentClients:
    """Turns operations into requests to the investment API and replies into outcomes."""

    def request(self, operation: Operation, attempt: int) -> Request:
        """The request for an attempt; journeys alternate between the APIs, and so do retries."""
        method, path = ROUTES[operation.kind]
        span = f"{attempt + 1:016x}"
        headers = {
            "Authorization": f"Bearer {operation.secret}",
            "traceparent": f"00-{operation.trace}-{span}-01",
        }
        body = b""
        if method == "POST":
            headers["Idempotency-Key"] = f'"{operation.key}"'
            headers["Content-Type"] = "application/json"
            body = json.dumps(self._body(operation)).encode()
        return Request(
            method=method,
            path=PREFIX + path.format(user=operation.user, **operation.params),
            entry=ENTRIES[(operation.number + attempt) % len(ENTRIES)],
            headers=headers,
            body=body,
        )

    def _body(self, operation: Operation) -> dict[str, str]:
        amount = {"amount_minor": str(operation.amount_minor), "currency": operation.currency}
        if operation.kind == "create-user":
            token = operation.user_secret
            return {"user_id": operation.user, "token": token, "currency": operation.currency}
        if operation.kind == "fund":
            return {**amount, "reference": operation.params["reference"]}
        if operation.kind == "create-investment":
            return {**amount, "instrument": operation.params["instrument"]}
        if operation.kind == "distribute-dividends":
            amount["total_minor"] = amount.pop("amount_minor")
            return {**amount, "dividend_event_id": operation.params["event"]}
        return {}

    def read(self, operation: Operation, reply: Reply) -> Reading:
        """What a reply means; a job that is not done asks for another look."""
        content = _json_object(reply.body)
        retryable = content.get("retryable")
        outcome = classify(
            reply.status, retryable=retryable if isinstance(retryable, bool) else None
        )
        if outcome is not Outcome.OK:
            return Reading(outcome, again=outcome is Outcome.INFO)
        if operation.kind == "await-job":
            state = str(content.get("state"))
            return Reading(
                _DONE.get(state, Outcome.INFO),
                again=state not in _DONE,
                subject=str(content.get("subject_id") or ""),
                learned={"state": state},
            )
        if operation.kind == "read-investment":
            outcome = Outcome.FAIL if content.get("state") == "PENDING" else Outcome.OK
        learned = {
            name: str(content[f"{name}_id"])
            for name in ("investment", "job")
            if content.get(f"{name}_id")
        }
        subject = operation.params.get("investment") or learned.get("investment", "")
        return Reading(outcome, subject=subject, learned=learned)

    def final_read(self, operation: Operation) -> Operation:
        """Executions are looked up; anything else is asked again with the same key."""
        if operation.kind != "execute-investment":
            return operation
        return replace(operation, kind="read-investment", key="")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


# A wallet is its user's; what is held for an investment, or invested, is the investment's user's.
OWNERS = """
WITH owners AS (
    SELECT account_id AS account, user_id::text AS owner FROM wallets
    UNION ALL
    SELECT 'L:' || class || ':' || id, user_id::text
    FROM investments CROSS JOIN (VALUES ('HOLD'), ('INV')) AS classes (class)
)"""

POSTINGS = f"""{OWNERS}
SELECT t.id::text AS transaction, t.kind, t.subject_id AS subject, e.account_id AS account,
       split_part(e.account_id, ':', 2) AS account_class, e.direction AS side,
       e.amount_minor, t.currency, e.id AS "order", coalesce(o.owner, '') AS owner,
       CASE WHEN e.account_id LIKE 'A:POS:%' THEN split_part(e.account_id, ':', 3) ELSE '' END
           AS instrument
FROM ledger_transactions t JOIN ledger_entries e ON e.tx_id = t.id
LEFT JOIN owners o ON o.account = e.account_id ORDER BY t.id, e.id"""

BALANCES = f"""{OWNERS}
SELECT id AS account, split_part(id, ':', 2) AS account_class, currency,
       balance_minor AS amount_minor, normal_side, false AS may_be_negative,
       coalesce(o.owner, '') AS owner
FROM ledger_accounts LEFT JOIN owners o ON o.account = id
WHERE balance_minor IS NOT NULL ORDER BY id"""

SUBJECTS = """
SELECT 'investment' AS kind, id::text, state, user_id::text AS owner, amount_minor, currency,
       state IN ('EXECUTED', 'FAILED', 'CANCELLED') AS terminal, state = 'PENDING' AS resting
FROM investments
UNION ALL
SELECT 'job', id::text, state, user_id::text, 0, '', state IN ('SUCCEEDED', 'FAILED'), false
FROM jobs
UNION ALL
SELECT 'partner-order', client_order_id::text, status, '', 0, '',
       status IN ('CONFIRMED', 'REJECTED'), false FROM partner_orders
UNION ALL
SELECT 'dividend', id::text, state, '', total_minor, currency, state = 'COMPLETED', false
FROM dividend_batches
UNION ALL
-- What nobody can be paid belongs to nobody yet; where nothing is due nothing is posted.
SELECT 'payout', p.id::text,
       CASE WHEN p.amount_minor = 0 AND p.state = 'POSTED' THEN 'NOTHING_DUE' ELSE p.state END,
       CASE p.state WHEN 'UNCLAIMED' THEN '' ELSE i.user_id::text END,
       p.amount_minor, i.currency, p.state <> 'PENDING', false
FROM dividend_payouts p JOIN investments i ON i.id = p.investment_id
UNION ALL
SELECT 'outbox', id::text, status, '', 0, '', status = 'published', false FROM outbox
UNION ALL
SELECT 'idempotency-key', id::text, CASE WHEN status IS NULL THEN 'IN_PROGRESS' ELSE 'FINAL' END,
       user_id::text, 0, '', status IS NOT NULL, false FROM idempotency_keys
ORDER BY 1, 2"""

TRANSITIONS = """
SELECT 'investment' AS kind, investment_id::text AS id, coalesce(from_state, '') AS source,
       to_state AS "to", id AS "order" FROM investment_state_logs
UNION ALL
SELECT 'job', job_id::text, coalesce(from_state, ''), to_state, id FROM job_state_logs
ORDER BY 1, 2, 5"""


class InvestmentLedger:
    """Reads the service's books by SQL in one snapshot, and the partner's journal over HTTP."""

    def books(self, *, dsn: str, urls: Mapping[str, str]) -> Books:
        """Everything at one moment; the partner is asked after the snapshot was taken."""
        with psycopg.connect(dsn) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            with connection.cursor(row_factory=tuple_row) as cursor:
                row = cursor.execute("SELECT pg_current_snapshot()::text").fetchone()
                snapshot = str(row[0]) if row else ""
            found = {
                name: tuple(self._rows(connection, kind, sql))
                for name, kind, sql in (
                    ("postings", Posting, POSTINGS),
                    ("balances", Balance, BALANCES),
                    ("subjects", Subject, SUBJECTS),
                    ("transitions", Transition, TRANSITIONS),
                )
            }
        orders, events = self._partner(urls["partner"])
        return Books(**found, partner_orders=orders, partner_events=events, snapshot=snapshot)

    def _rows(self, connection: Any, kind: type, sql: str) -> list[Any]:
        with connection.cursor(row_factory=class_row(kind)) as cursor:
            return cursor.execute(sql).fetchall()

    def _partner(self, url: str) -> tuple[tuple[PartnerOrder, ...], tuple[PartnerEvent, ...]]:
        orders, events = [], []
        for line in _journal_lines(f"{url}/journal?after=0"):
            trace = _trace_id(line.get("traceparent"))
            amount = int(line.get("amount_minor") or 0)
            client_order = str(line.get("client_order_id") or "")
            events.append(
                PartnerEvent(line["seq"], line["at_ns"], line["event"], client_order, amount, trace)
            )
            if line["event"] == "executed":
                orders.append(
                    PartnerOrder(
                        order=str(line["order_id"]),
                        client_order=client_order,
                        account=str(line.get("account") or ""),
                        instrument=str(line.get("instrument") or ""),
                        amount_minor=amount,
                        currency=str(line.get("currency") or ""),
                        trace=trace,
                        seq=line["seq"],
                        fee_minor=int(line.get("fee_minor") or 0),
                    )
                )
        return tuple(orders), tuple(events)


def _journal_lines(url: str) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=_JOURNAL_SECONDS) as reply:
            return [json.loads(line) for line in reply.read().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise HarnessError(
            "the partner's journal cannot be read", value=repr(error), where=url
        ) from None


def _trace_id(traceparent: object) -> str:
    parts = str(traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else ""


# Credits minus debits, in units of the investment's amount.
_HELD = (("WALLET", -1), ("HOLD", 1))
_INVESTED = (("WALLET", -1), ("INV", 1), ("POS", -1), ("CASH", 1))

RULES = Rules(
    lifecycles=(
        Lifecycle(
            kind="investment",
            starts=("PENDING",),
            edges=(
                ("PENDING", "CANCELLED"),
                ("PENDING", "QUEUED"),
                ("QUEUED", "EXECUTING"),
                ("QUEUED", "CANCELLED"),
                ("EXECUTING", "EXECUTED"),
                ("EXECUTING", "FAILED"),
                ("EXECUTING", "REVIEW"),
                ("REVIEW", "EXECUTED"),
                ("REVIEW", "FAILED"),
            ),
            terminal=("EXECUTED", "FAILED", "CANCELLED"),
            resting=("PENDING",),
        ),
        Lifecycle(
            kind="job",
            starts=("PENDING",),
            edges=(
                ("PENDING", "RUNNING"),
                ("PENDING", "FAILED"),
                ("RUNNING", "RUNNING"),
                ("RUNNING", "SUCCEEDED"),
                ("RUNNING", "FAILED"),
                ("RUNNING", "WAITING"),
                ("RUNNING", "REVIEW"),
                ("WAITING", "RUNNING"),
                ("WAITING", "FAILED"),
                ("WAITING", "REVIEW"),
                ("REVIEW", "RUNNING"),
                ("REVIEW", "SUCCEEDED"),
                ("REVIEW", "FAILED"),
            ),
            terminal=("SUCCEEDED", "FAILED"),
        ),
    ),
    effects=(
        Effect("fund", "deposit"),
        Effect("create-investment", "", subject_kind="investment"),
        Effect(
            "execute-investment",
            "capture",
            partner=True,
            subject_kind="investment",
            terminal_state="EXECUTED",
            cancelled_by="cancel-investment",
        ),
        Effect("distribute-dividends", "divin"),
    ),
    standings=(
        Standing("investment", "PENDING"),
        Standing("investment", "QUEUED", once=("hold",), net=_HELD),
        Standing("investment", "EXECUTING", once=("hold",), net=_HELD),
        Standing("investment", "REVIEW", once=("hold",), net=_HELD),
        Standing("investment", "EXECUTED", once=("hold", "capture"), net=_INVESTED),
        Standing("investment", "FAILED", once=("hold", "release")),
        # Cancelled before its execution was accepted, or after.
        Standing("investment", "CANCELLED", maybe=("hold", "release")),
        *(
            Standing("dividend", state, once=("divin",), net=(("CASH", -1), ("DIVCLR", 1)))
            for state in ("ALLOCATED", "PAYING", "COMPLETED")
        ),
        Standing("payout", "PENDING"),
        Standing("payout", "NOTHING_DUE"),
        Standing("payout", "POSTED", once=("div",), net=(("DIVCLR", -1), ("WALLET", 1))),
        Standing("payout", "UNCLAIMED", once=("divun",), net=(("DIVCLR", -1), ("UNCLAIMED", 1))),
    ),
    accounts=ChartOfAccounts(
        client=("WALLET", "HOLD", "INV", "DIVCLR", "UNCLAIMED"),
        external=("CASH", "POS"),
        funding="deposit",
        position="POS",
        invested="INV",
        suspense="SUSPENSE",
        income=("FEE",),
        wallet="WALLET",
        reserved="HOLD",
        distribution="divin",
        clearing="DIVCLR",
    ),
    share_kind="payout",
    partner_account_is_owner=True,
    instrument_param="instrument",
    idempotent_kinds=(
        "create-user", "fund", "create-investment", "execute-investment", "cancel-investment",
        "distribute-dividends",
    ),
)  # fmt: skip


@target("investment")
class InvestmentTarget:
    """The reference investment service, with its simulated partner."""

    clients = InvestmentClients()
    ledger = InvestmentLedger()
    rules = RULES

    def secrets(self, derive: Callable[[str], str]) -> dict[str, str]:
        """The administrator's token, the vault's keys, and what the partner knows us by."""

        def key(name: str) -> str:
            return b64encode(sha256(derive(name).encode()).digest()).decode()

        partner = {"API_KEY": derive("partner-api"), "CALLBACK_SECRET": derive("callback")}
        return {
            "INVESTMENT_ADMIN_TOKEN": derive("admin"),
            "INVESTMENT_VAULT_KEYS": f"k2:{key('vault-k2')},k1:{key('vault-k1')}",
            "INVESTMENT_VAULT_INDEX_KEY": key("vault-index"),
            **{f"INVESTMENT_PARTNER_{name}": secret for name, secret in partner.items()},
            **{f"PARTNER_{name}": secret for name, secret in partner.items()},
        }

    def recovery_window_seconds(self, settings: Mapping[str, str]) -> float:
        """The slowest way back: a message redelivered, a lease expired, a job redispatched, an
        unknown partner outcome asked about again; then two ticks of the sweeper and a margin."""

        def milliseconds(name: str) -> int:
            return int(settings[f"INVESTMENT_{name}_MS"])

        tick = milliseconds("SWEEP_TICK")
        partner = milliseconds("PARTNER_CONNECT_TIMEOUT") + milliseconds("PARTNER_READ_TIMEOUT")
        slowest = max(
            int(settings["INVESTMENT_VISIBILITY_TIMEOUT_S"]) * 1000 + 1000,
            milliseconds("JOB_LEASE"),
            milliseconds("REDISPATCH_AFTER"),
            partner + milliseconds("RETRY_CAP"),
        )
        return (slowest + 2 * tick + 2000) / 1000
