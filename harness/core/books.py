"""Books: what a target's own records and those of others say, as plain rows.

A target fills these from its tables by SQL, and from its partner's journal over HTTP. The oracle
reads nothing else of a target, and never the target's dedupe tables.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Posting:
    """One leg of one ledger transaction. `side` is `D` or `C`. `order` is a number that was
    assigned while the account's lock was held, so that it orders the postings of one account; 0
    where there is none, and then only the end balance counts."""

    transaction: str
    kind: str
    subject: str
    account: str
    account_class: str
    side: str
    amount_minor: int
    currency: str
    order: int


@dataclass(frozen=True)
class Balance:
    """A cached balance, in the sense of the account's normal side."""

    account: str
    account_class: str
    currency: str
    amount_minor: int
    normal_side: str = "C"
    may_be_negative: bool = False


@dataclass(frozen=True)
class Subject:
    """A business row that has a life: an investment, a job. `terminal` rows rest for ever,
    `resting` ones may rest without anybody driving them (an investment not yet executed)."""

    kind: str
    id: str
    state: str
    owner: str = ""
    amount_minor: int = 0
    currency: str = ""
    terminal: bool = False
    resting: bool = False


@dataclass(frozen=True)
class Transition:
    """One step in the life of a subject, in the order in which the target recorded it."""

    kind: str
    id: str
    source: str
    to: str
    order: int


@dataclass(frozen=True)
class PartnerOrder:
    """An order that the external partner says it executed, with the client's id for it."""

    order: str
    client_order: str
    account: str
    instrument: str
    amount_minor: int
    currency: str
    trace: str
    seq: int


@dataclass(frozen=True)
class PartnerEvent:
    """One line of the partner's own journal."""

    seq: int
    at_ns: int
    event: str
    client_order: str
    amount_minor: int
    trace: str


@dataclass(frozen=True)
class Books:
    """Everything at one moment: the target's rows from one snapshot, and the partner's journal."""

    postings: tuple[Posting, ...] = ()
    balances: tuple[Balance, ...] = ()
    subjects: tuple[Subject, ...] = ()
    transitions: tuple[Transition, ...] = ()
    partner_orders: tuple[PartnerOrder, ...] = ()
    partner_events: tuple[PartnerEvent, ...] = ()
    snapshot: str = ""


@dataclass(frozen=True)
class Lifecycle:
    """The legal life of one kind of subject: where it starts, its edges, where it may end."""

    kind: str
    starts: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    terminal: tuple[str, ...]
    resting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Effect:
    """What one successful operation must have done to the books, in the target's own words.

    For an operation of `operation_kind` with amount `a`: exactly one ledger transaction of
    `ledger_kind` that moves `a`, and, where `partner` is true, exactly one partner order of `a`.
    `terminal_state` is the state of its subject that goes with the effect.
    """

    operation_kind: str
    ledger_kind: str
    partner: bool = False
    subject_kind: str = ""
    terminal_state: str = ""


@dataclass(frozen=True)
class ChartOfAccounts:
    """Which account classes mean what: `external` ones face the outside world (cash, positions),
    `client` ones are owed to clients, `funding` is the ledger kind that brings money in."""

    client: tuple[str, ...]
    external: tuple[str, ...]
    funding: str
    position: str = ""
    invested: str = ""
    suspense: str = ""


@dataclass(frozen=True)
class Rules:
    """What a target promises: the facts that general invariants need about a particular service."""

    lifecycles: tuple[Lifecycle, ...] = ()
    effects: tuple[Effect, ...] = ()
    accounts: ChartOfAccounts = field(default_factory=lambda: ChartOfAccounts((), (), ""))
    idempotent_kinds: tuple[str, ...] = ()
