"""Accounts: cached balances against their entries, and overdrafts."""

from collections import defaultdict
from collections.abc import Iterator

from harness.core.books import Posting
from harness.oracle.case import Case
from harness.oracle.ledger import debit_minor, money

AccountFault = tuple[str, str, str, str, int]


def account_faults(case: Case) -> Iterator[AccountFault]:
    """What is wrong with accounts: key, account, expected, actual, minor units at stake.

    An account with a cached balance is locked by whoever moves it, so its entries have an order
    and its running balance counts; of any other client account only the end counts.
    """
    legs: dict[tuple[str, str], list[Posting]] = defaultdict(list)
    for leg in case.after.postings:
        legs[(leg.account, leg.currency)].append(leg)
    cached = {(balance.account, balance.currency): balance for balance in case.after.balances}
    for (account, currency), balance in cached.items():
        sign = 1 if balance.normal_side == "D" else -1
        entries = legs.get((account, currency), [])
        total = sign * sum(map(debit_minor, entries))
        if total != balance.amount_minor:
            expected = f"{money(total, currency)}, the sum of its entries"
            off = abs(total - balance.amount_minor)
            yield "cached-balance-wrong", account, expected, str(balance.amount_minor), off
        lowest = min(total, balance.amount_minor, _lowest(entries, sign))
        if lowest < 0 and not balance.may_be_negative:
            yield "overdrawn", account, "never below zero", money(lowest, currency), -lowest
    for (account, currency), entries in legs.items():
        total = -sum(map(debit_minor, entries))
        client = entries[0].account_class in case.rules.accounts.client
        if client and total < 0 and (account, currency) not in cached:
            yield "overdrawn", account, "not below zero", money(total, currency), -total


def _lowest(entries: list[Posting], sign: int) -> int:
    """The lowest running balance, transaction by transaction; zero when the order is unknown."""
    steps: dict[int, int] = defaultdict(int)
    for leg in entries:
        steps[leg.order] += sign * debit_minor(leg)
    if 0 in steps:
        return 0
    lowest = running = 0
    for order in sorted(steps):
        running += steps[order]
        lowest = min(lowest, running)
    return lowest
