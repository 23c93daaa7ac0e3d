"""The partner's HTTP API, and what an answer proves.

Only two things are definite: a parsed success for our order and a documented refusal of it.
Everything else, a timeout, a reset, a 5xx, an answer that cannot be read, is unknown: the order
may have been executed. Only without a connection it is certain that nothing was sent.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from .settings import Settings
from .tracing import current_traceparent

_MAX_BODY_BYTES = 65536
# The reason of a refusal is shown to the user: a code of plain words, which can name nobody.
_REASON = re.compile(r"[a-z][a-z _-]{0,63}")


@dataclass(frozen=True)
class Executed:
    order_id: str
    amount_minor: int
    fee_minor: int


@dataclass(frozen=True)
class Rejected:
    reason: str


@dataclass(frozen=True)
class NotFound:
    """The partner does not know the order yet: a request may still be on its way."""


@dataclass(frozen=True)
class Unknown:
    reason: str


@dataclass(frozen=True)
class NotSent:
    """No connection came about: this attempt surely changed nothing."""

    reason: str


Outcome = Executed | Rejected | NotFound | NotSent | Unknown


@dataclass(frozen=True)
class Order:
    """What is asked of the partner, as persisted before the call."""

    investment_id: UUID
    client_order_id: UUID
    attempt: int
    account: str
    instrument: str
    amount_minor: int
    currency: str


class PartnerClient:
    """One attempt a call: retries belong to the job, never to the HTTP client.

    The API key is read before the first call, and again after the partner did not accept it.
    """

    def __init__(self, settings: Settings, read_api_key: Callable[[], str]) -> None:
        self._read_api_key = read_api_key
        self._api_key: str | None = None
        self._url = settings.partner_url.rstrip("/")
        connect_s = settings.partner_connect_timeout_ms / 1000
        read_s = settings.partner_read_timeout_ms / 1000
        self._total_s = connect_s + read_s
        timeout = urllib3.Timeout(connect=connect_s, read=read_s)
        self._pool = urllib3.PoolManager(maxsize=1, retries=False, timeout=timeout)

    def submit(self, order: Order) -> Outcome:
        """Ask the partner to execute the order; it dedupes by the client order id."""
        key = str(order.client_order_id)
        document = {
            "client_order_id": key,
            "account": order.account,
            "instrument": order.instrument,
            "amount_minor": str(order.amount_minor),
            "currency": order.currency,
        }
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        outcome = self._call("POST", "/orders", order, body=json.dumps(document), headers=headers)
        return Unknown("order not found after a submit") if outcome == NotFound() else outcome

    def query(self, order: Order) -> Outcome:
        """Ask the partner what became of the order."""
        query = urlencode({"client_order_id": order.client_order_id})
        return self._call("GET", f"/orders?{query}", order, body=None, headers={})

    def _call(
        self, method: str, path: str, order: Order, *, body: str | None, headers: dict[str, str]
    ) -> Outcome:
        if self._api_key is None:
            self._api_key = self._read_api_key()
        headers = headers | {"Authorization": f"Bearer {self._api_key}"}
        if traceparent := current_traceparent():
            headers["traceparent"] = traceparent
        try:
            response = self._pool.request(
                method, self._url + path, body=body, headers=headers, preload_content=False
            )
            status, content = response.status, self._read(response)
        except (NewConnectionError, ConnectTimeoutError) as error:
            return NotSent(type(error).__name__)
        except (HTTPError, OSError) as error:
            return Unknown(type(error).__name__)
        if status == 401:
            self._api_key = None
        return classify(status, content, order)

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The body, bounded in size and in total time: a dripping answer must end as well."""
        deadline = time.monotonic() + self._total_s
        content = b""
        try:
            while chunk := response.read1(_MAX_BODY_BYTES):
                content += chunk
                if len(content) > _MAX_BODY_BYTES or time.monotonic() > deadline:
                    raise HTTPError("answer too long or too slow")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return content


def classify(status: int, content: bytes, order: Order) -> Outcome:
    """What the answer proves about the order."""
    try:
        document = json.loads(content)
        known = document["client_order_id"] == str(order.client_order_id)
    except (ValueError, KeyError, TypeError, RecursionError):
        return Unknown(f"unreadable answer with status {status}")
    if not known:
        return Unknown(f"answer about another order with status {status}")
    state = document.get("status")
    if status in (200, 201) and state == "EXECUTED":
        return _executed(document, order)
    if status in (200, 422) and state == "REJECTED":
        reason = str(document.get("reason"))
        return Rejected(reason if _REASON.fullmatch(reason) else "refused by the partner")
    if status == 404 and state == "NOT_FOUND":
        return NotFound()
    return Unknown(f"answer with status {status}")


def _executed(document: dict[str, object], order: Order) -> Outcome:
    amount, fee = document.get("amount_minor"), document.get("fee_minor", "0")
    order_id = document.get("order_id")
    readable = isinstance(order_id, str) and order_id.isprintable()
    if not (readable and _is_digits(amount) and _is_digits(fee)):
        return Unknown("executed, but order id, amount or fee is unreadable")
    if not 0 < int(amount) <= int(amount) + int(fee) <= order.amount_minor:
        return Unknown("executed, but for another amount than was held")
    echoed = (document.get("instrument"), document.get("currency"))
    if echoed != (order.instrument, order.currency):
        return Unknown("executed, but in another instrument or currency than was ordered")
    return Executed(order_id, int(amount), int(fee))


def _is_digits(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18
