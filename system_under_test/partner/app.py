"""The partner's HTTP API.

With an API key, orders are only for who brings it; the other addresses are the simulator's own.
"""

import contextlib
import hmac
import json
import time
from pathlib import Path
from uuid import uuid4

import urllib3
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .book import Book, Fill, Order

_ORDER_FIELDS = ("client_order_id", "account", "instrument", "amount_minor", "currency")


def _order_request(content: bytes) -> dict[str, str]:
    """The fields of an order; raises when one is missing, malformed or unknown."""
    body = json.loads(content)
    found = {name: body[name] for name in _ORDER_FIELDS}
    well_formed = set(body) == set(_ORDER_FIELDS) and all(
        isinstance(value, str) and value for value in found.values()
    )
    amount = found["amount_minor"]
    if not well_formed or not (amount.isascii() and amount.isdigit() and int(amount) > 0):
        raise ValueError("a field is missing or malformed")
    return found


def _send_event(url: str, secret: str, order: Order) -> None:
    """Tell the client what became of an order, once, whether it listens or not."""
    kind, at = f"order.{order.status.lower()}", str(int(time.time()))
    event = {"event_id": str(uuid4()), "kind": kind, "client_order_id": order.client_order_id}
    body = json.dumps(event).encode()
    signature = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    headers = {"X-Partner-Signature": f"t={at},v1={signature}", "Content-Type": "application/json"}
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        urllib3.request("POST", url, body=body, headers=headers, timeout=2, retries=False)


class _Script:
    """What the simulator does on request: refuse amounts, fill others in part, send events."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.callback_url = ""

    def read(self, content: bytes) -> None:
        """Each part replaces what was set before; raises when one is malformed or unknown."""
        script = json.loads(content)
        refused, fills = script.pop("refuse_amounts", None), script.pop("fills", None)
        callback_url = script.pop("callback_url", None)
        if script:
            raise ValueError(f"unknown: {sorted(script)}")
        if refused is not None:
            self._book.refused_amounts = {str(k): str(v) for k, v in refused.items()}
        if fills is not None:
            self._book.fills = {str(k): Fill(**fill) for k, fill in fills.items()}
        if callback_url is not None:
            self.callback_url = str(callback_url)

    def document(self) -> dict[str, object]:
        fills = {amount: vars(fill) for amount, fill in self._book.fills.items()}
        refused = self._book.refused_amounts
        return {"refuse_amounts": refused, "fills": fills, "callback_url": self.callback_url}


def _malformed(reason: object) -> Response:
    return JSONResponse({"status": "MALFORMED", "reason": str(reason)}, 400)


_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


class _Orders:
    """The addresses that a client has business with."""

    def __init__(self, book: Book, script: _Script, *, api_key: str, callback_secret: str) -> None:
        self._book, self._script = book, script
        self._api_key, self._callback_secret = api_key, callback_secret

    def _refusal(self, request: Request) -> Response | None:
        given, expected = request.headers.get("authorization", ""), f"Bearer {self._api_key}"
        if not self._api_key or hmac.compare_digest(given.encode(), expected.encode()):
            return None
        self._book.append("unauthorized", traceparent=request.headers.get("traceparent"))
        return JSONResponse({"status": "UNAUTHORIZED"}, 401)

    async def submit(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        try:
            order_request = _order_request(await request.body())
        except _UNREADABLE as error:
            return _malformed(repr(error))
        if request.headers.get("idempotency-key") != order_request["client_order_id"]:
            return _malformed("Idempotency-Key")
        order, is_new = self._book.submit(order_request, request.headers.get("traceparent"))
        event, url = None, self._script.callback_url
        if is_new and url:
            event = BackgroundTask(_send_event, url, self._callback_secret, order)
        status = 422 if order.status == "REJECTED" else 201 if is_new else 200
        return JSONResponse(order.document(), status, background=event)

    async def query(self, request: Request) -> Response:
        if refused := self._refusal(request):
            return refused
        client_order_id = request.query_params.get("client_order_id", "")
        order = self._book.query(client_order_id, request.headers.get("traceparent"))
        if order is None:
            not_found = {"client_order_id": client_order_id, "status": "NOT_FOUND"}
            return JSONResponse(not_found, 404)
        return JSONResponse(order.document())


def create_app(journal: Path, *, api_key: str, callback_secret: str) -> Starlette:
    book = Book(journal)
    script = _Script(book)
    orders = _Orders(book, script, api_key=api_key, callback_secret=callback_secret)

    async def positions(_request: Request) -> Response:
        return JSONResponse({"positions": book.positions()})

    async def read_journal(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()):
            return _malformed("after is a number")
        lines = [json.dumps(record) + "\n" for record in book.records[int(after) :]]
        return Response("".join(lines), media_type="application/x-ndjson")

    async def write_script(request: Request) -> Response:
        """For the next order of an amount: {"refuse_amounts": {"12345": "reason"}, "fills":
        {"500": {"amount_minor": "300", "fee_minor": "1"}}}; events: {"callback_url": "http://…"}.
        """
        try:
            script.read(await request.body())
        except _UNREADABLE as error:
            return _malformed(repr(error))
        return JSONResponse(script.document())

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive", "records": len(book.records)})

    return Starlette(
        routes=[
            Route("/orders", orders.submit, methods=["POST"]),
            Route("/orders", orders.query, methods=["GET"]),
            Route("/positions", positions),
            Route("/journal", read_journal),
            Route("/script", write_script, methods=["PUT"]),
            Route("/healthz", healthz),
        ]
    )
