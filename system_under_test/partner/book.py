"""The partner's books: an append-only journal, and the orders that follow from it."""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Fill:
    """How much of an order is executed, and for which fee."""

    amount_minor: str
    fee_minor: str


@dataclass(frozen=True)
class Order:
    order_id: str
    client_order_id: str
    account: str
    instrument: str
    amount_minor: str
    fee_minor: str
    currency: str
    status: str
    reason: str | None

    def document(self) -> dict[str, str]:
        values = {
            "order_id": self.order_id,
            "client_order_id": self.client_order_id,
            "status": self.status,
            "account": self.account,
            "instrument": self.instrument,
            "amount_minor": self.amount_minor,
            "fee_minor": self.fee_minor,
            "currency": self.currency,
        }
        return values if self.reason is None else values | {"reason": self.reason}


class Book:
    """Orders by client order id. A record is in the file before anybody is answered.

    A restarted partner reads its journal back, so that it never forgets an order.
    """

    def __init__(self, path: Path) -> None:
        self.records: list[dict[str, object]] = []
        self.orders: dict[str, Order] = {}
        self.refused_amounts: dict[str, str] = {}
        self.fills: dict[str, Fill] = {}
        if path.exists():
            self._restore(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _restore(self, path: Path) -> None:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))  # a record torn by a crash was never answered
        for line in whole.splitlines():
            record = json.loads(line)
            self.records.append(record)
            if record["event"] in ("executed", "rejected"):
                self._book(record)

    def _book(self, record: dict[str, object]) -> Order:
        order = Order(
            order_id=record["order_id"],
            client_order_id=record["client_order_id"],
            account=record["account"],
            instrument=record["instrument"],
            amount_minor=record["amount_minor"],
            fee_minor=record.get("fee_minor", "0"),
            currency=record["currency"],
            status=str(record["event"]).upper(),
            reason=record.get("reason"),
        )
        self.orders[order.client_order_id] = order
        return order

    def append(self, event: str, **fields: str | None) -> dict[str, object]:
        """Write one record to the file and return it."""
        record: dict[str, object] = {
            "seq": len(self.records) + 1,
            "at_ns": time.time_ns(),
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "event": event,
            **fields,
        }
        os.write(self._file, json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self.records.append(record)
        return record

    def query(self, client_order_id: str, traceparent: str | None) -> Order | None:
        """The order for this client order id, if there is one; the question is recorded."""
        order = self.orders.get(client_order_id)
        self.append(
            "query",
            client_order_id=client_order_id,
            order_id=order.order_id if order else None,
            amount_minor=order.amount_minor if order else None,
            instrument=order.instrument if order else None,
            account=order.account if order else None,
            traceparent=traceparent,
        )
        return order

    def submit(self, request: dict[str, str], traceparent: str | None) -> tuple[Order, bool]:
        """The order for this client order id and whether it is new."""
        fields = request | {"traceparent": traceparent}
        self.append("submit", order_id=None, **fields)
        known = self.orders.get(request["client_order_id"])
        if known is not None:
            self.append("duplicate", order_id=known.order_id, **fields)
            return known, False
        order_id = f"P-{len(self.orders) + 1:08d}"
        reason = self.refused_amounts.pop(request["amount_minor"], None)
        if reason is None:
            fill = self.fills.pop(request["amount_minor"], Fill(request["amount_minor"], "0"))
            record = self.append("executed", order_id=order_id, **fields | vars(fill))
        else:
            record = self.append("rejected", order_id=order_id, reason=reason, **fields)
        return self._book(record), True

    def positions(self) -> list[dict[str, str]]:
        totals: dict[tuple[str, str, str], int] = {}
        for order in self.orders.values():
            if order.status == "EXECUTED":
                place = (order.account, order.instrument, order.currency)
                totals[place] = totals.get(place, 0) + int(order.amount_minor)
        return [
            {"account": a, "instrument": i, "currency": c, "amount_minor": str(total)}
            for (a, i, c), total in sorted(totals.items())
        ]
