"""The ledger as transactions: sums by account and class, and effects found by their amount."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.core.books import Books, Posting


def debit_minor(posting: Posting) -> int:
    """The amount of a leg, positive for a debit and negative for a credit."""
    return posting.amount_minor if posting.side == "D" else -posting.amount_minor


@dataclass(frozen=True)
class Transaction:
    """One ledger transaction with its legs."""

    id: str
    kind: str
    subject: str
    legs: tuple[Posting, ...]

    @property
    def imbalance(self) -> dict[str, int]:
        """Debits minus credits of every currency where they differ."""
        return net(self.legs, lambda leg: leg.currency)

    @property
    def watermarks(self) -> set[tuple[int, str]]:
        """The amounts of its legs, with their currencies."""
        return {(leg.amount_minor, leg.currency) for leg in self.legs}

    def touches(self, account_class: str, amount_minor: int) -> bool:
        """Whether a leg moves that amount in that class; a class without a name always is."""
        return not account_class or any(
            leg.account_class == account_class and leg.amount_minor == amount_minor
            for leg in self.legs
        )


def transactions(books: Books) -> list[Transaction]:
    """The postings by transaction, in the order of their first legs."""
    legs: dict[str, list[Posting]] = defaultdict(list)
    for posting in books.postings:
        legs[posting.transaction].append(posting)
    return [Transaction(id, p[0].kind, p[0].subject, tuple(p)) for id, p in legs.items()]


def net(postings: Iterable[Posting], key: Callable[[Posting], str]) -> dict[str, int]:
    """Debits minus credits by `key`, without those that come to zero."""
    sums: Counter[str] = Counter()
    for posting in postings:
        sums[key(posting)] += debit_minor(posting)
    return {name: value for name, value in sorted(sums.items()) if value}


def owed_minor(postings: Iterable[Posting], classes: Iterable[str]) -> dict[str, int]:
    """Credits minus debits per currency over some account classes."""
    wanted = set(classes)
    sums = net((p for p in postings if p.account_class in wanted), lambda p: p.currency)
    return {currency: -value for currency, value in sums.items()}


def money(amount_minor: int, currency: str) -> str:
    """An amount as findings print it."""
    return f"{amount_minor} {currency} minor units"
