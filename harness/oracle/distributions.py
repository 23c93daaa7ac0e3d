"""Distributions: what came in for many clients at once, and what each of them got of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.core.records import OperationRecord
from harness.oracle.case import Case
from harness.oracle.ledger import Transaction


@dataclass(frozen=True)
class Distribution:
    """One distribution. `received` is what left the clearing account by owner, empty for what
    belongs to nobody; `orders` has the amounts that the partner executed for each client, and is
    empty where nobody can tell whose they were when the distribution was asked for."""

    row: Transaction
    total_minor: int
    currency: str
    received: Counter[str]
    orders: dict[str, list[int]]
    operation: OperationRecord | None

    @property
    def paid_minor(self) -> int:
        """All that left the clearing account."""
        return self.received.total()

    def unfair(self) -> Iterator[tuple[str, int, int, int]]:
        """Clients whose share is a unit or more off for each order: owner, least, most, actual."""
        whole = sum(sum(amounts) for amounts in self.orders.values())
        for owner in sorted({*self.orders, *self.received} - {""} if self.orders else ()):
            amounts = self.orders.get(owner, [])
            shares = [divmod(self.total_minor * amount, whole) for amount in amounts]
            least = sum(units for units, _ in shares)
            most = sum(units + bool(rest) for units, rest in shares)
            if not least <= self.received[owner] <= most:
                yield owner, least, most, self.received[owner]


def distributions(case: Case) -> Iterator[Distribution]:
    """The distributions in the books, in the order of the ledger."""
    accounts = case.rules.accounts
    kinds = {e.operation_kind for e in case.rules.effects if e.ledger_kind == accounts.distribution}
    asked = {
        (record.operation.amount_minor, record.operation.currency): record
        for record in reversed(case.all_operations)
        if record.operation.kind in kinds
    }
    for row in case.transactions if accounts.distribution else ():
        if row.kind != accounts.distribution:
            continue
        arrived = [leg for leg in row.legs if leg.account_class == accounts.clearing]
        clearing, total = {leg.account for leg in arrived}, sum(leg.amount_minor for leg in arrived)
        currency = row.legs[0].currency
        record = asked.get((total, currency))
        received = _received(case, row, clearing)
        orders = {} if record is None else _orders(case, record)
        yield Distribution(row, total, currency, received, orders, record)


def _received(case: Case, origin: Transaction, clearing: set[str]) -> Counter[str]:
    """Credits by owner in the transactions that take from the clearing account."""
    received: Counter[str] = Counter()
    for row in case.transactions:
        if row.id != origin.id and any(leg.account in clearing for leg in row.legs):
            for leg in row.legs:
                if leg.side == "C" and leg.account not in clearing:
                    received[leg.owner] += leg.amount_minor
    return received


def _later(record: OperationRecord, other: OperationRecord) -> bool:
    """Whether the operation was still being sent when the other one was."""
    return bool(record.attempts and other.attempts) and (
        record.attempts[-1].done_ns > other.attempts[0].sent_ns
    )


def _orders(case: Case, record: OperationRecord) -> dict[str, list[int]]:
    """What the partner executed of the instrument by client, unless that went on meanwhile."""
    rules = case.rules
    instrument = record.operation.params.get(rules.instrument_param)
    executing = {effect.operation_kind for effect in rules.effects if effect.partner}
    beside = any(
        other.operation.kind in executing and (other.phase == record.phase or _later(other, record))
        for other in case.all_operations
        if other.scenario == record.scenario
    )
    found: dict[str, list[int]] = {}
    if instrument and rules.partner_account_is_owner and not beside:
        for order in case.after.partner_orders:
            if (order.instrument, order.currency) == (instrument, record.operation.currency):
                found.setdefault(order.account, []).append(order.amount_minor)
    return found
