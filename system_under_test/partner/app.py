"""The partner's HTTP API."""

import json
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .book import Book

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


def create_app(journal: Path) -> Starlette:
    book = Book(journal)

    async def submit(request: Request) -> Response:
        try:
            order_request = _order_request(await request.body())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return JSONResponse({"status": "MALFORMED", "reason": repr(error)}, 400)
        if request.headers.get("idempotency-key") != order_request["client_order_id"]:
            return JSONResponse({"status": "MALFORMED", "reason": "Idempotency-Key"}, 400)
        order, is_new = book.submit(order_request, request.headers.get("traceparent"))
        if order.status == "REJECTED":
            return JSONResponse(order.document(), 422)
        return JSONResponse(order.document(), 201 if is_new else 200)

    async def query(request: Request) -> Response:
        client_order_id = request.query_params.get("client_order_id", "")
        order = book.query(client_order_id, request.headers.get("traceparent"))
        if order is None:
            not_found = {"client_order_id": client_order_id, "status": "NOT_FOUND"}
            return JSONResponse(not_found, 404)
        return JSONResponse(order.document())

    async def positions(_request: Request) -> Response:
        return JSONResponse({"positions": book.positions()})

    async def read_journal(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit()):
            return JSONResponse({"status": "MALFORMED", "reason": "after is a number"}, 400)
        lines = [json.dumps(record) + "\n" for record in book.records[int(after) :]]
        return Response("".join(lines), media_type="application/x-ndjson")

    async def script(request: Request) -> Response:
        """Refuse the next order with a given amount: {"refuse_amounts": {"12345": "reason"}}."""
        try:
            refuse = json.loads(await request.body())["refuse_amounts"]
            book.refused_amounts = {str(k): str(v) for k, v in refuse.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return JSONResponse({"status": "MALFORMED", "reason": repr(error)}, 400)
        return JSONResponse({"refuse_amounts": book.refused_amounts})

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive", "records": len(book.records)})

    return Starlette(
        routes=[
            Route("/orders", submit, methods=["POST"]),
            Route("/orders", query, methods=["GET"]),
            Route("/positions", positions),
            Route("/journal", read_journal),
            Route("/script", script, methods=["PUT"]),
            Route("/healthz", healthz),
        ]
    )
