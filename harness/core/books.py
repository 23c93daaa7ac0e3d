"""Books: what a target's own records and those of others say, as plain rows.

A target fills these from its tables by SQL, and from its partner's journal over HTTP. The oracle
reads nothing else of a target, and never the target's dedupe tables.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Posting:
    """One leg of one ledger transaction. `side` is `D` or `C`. `order` is a number that was
    assigned while the account's lock was held, so that it orders the postings of one account; 0
    where there is none, and then only the end balance counts. `owner` is the client whose money
    the account holds, empty for accounts of nobody; `instrument` is what a position account holds.
    """

    transaction: str
    kind: str
    subject: str
    account: str
    account_class: str
    side: str
    amount_minor: int
    currency: str
    order: int
    owner: str = ""
    instrument: str = ""


@dataclass(frozen=True)
class Balance:
    """A cached balance, in the sense of the account's normal side; `owner` as in `Posting`."""

    account: str
    account_class: str
    currency: str
    amount_minor: int
    normal_side: str = "C"
    may_be_negative: bool = False
    owner: str = ""


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
    """An order that the external partner says it executed, with the client's id for it, and the
    fee that it charged to the client."""

    order: str
    client_order: str
    account: str
    instrument: str
    amount_minor: int
    currency: str
    trace: str
    seq: int
    fee_minor: int = 0


@dataclass(frozen=True)
class PartnerEvent:
    """One line of the partner's own journal. `event` is the partner's word, except that the
    refusal of an order is always `rejected`."""

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
    `ledger_kind` that moves `a`, on accounts of the operation's user, and, where `partner` is
    true, exactly one partner order of `a`. Without a ledger kind it is one subject of
    `subject_kind` with that amount. `terminal_state` is the state of its subject that goes with
    the effect; an accepted operation may only end otherwise if the partner refused it or an
    operation of `cancelled_by` asked for it.
    """

    operation_kind: str
    ledger_kind: str
    partner: bool = False
    subject_kind: str = ""
    terminal_state: str = ""
    cancelled_by: str = ""


@dataclass(frozen=True)
class Standing:
    """What the ledger shows of a subject in one state, once nothing is under way.

    Its transactions are those that name it as their subject: one of each kind in `once`, at most
    one of each kind in `maybe`, and no others. `net` is what they add up to: credits minus debits
    by account class, in units of the subject's amount; what is not named comes to zero.
    """

    subject_kind: str
    state: str
    once: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    net: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class ChartOfAccounts:
    """Which account classes mean what: `external` ones face the outside world (cash, positions),
    `client` ones are owed to clients, `income` is what clients paid as fees, `funding` is the
    ledger kind that brings money in. Of the client ones, `wallet` is free to be spent, `reserved`
    waits for its use, and `invested` is at the partner; each account of these has an owner.
    `distribution` is the ledger kind that brings in money to be shared out among clients, which
    rests on an account of the class `clearing` until each has got a share."""

    client: tuple[str, ...]
    external: tuple[str, ...]
    funding: str
    position: str = ""
    invested: str = ""
    suspense: str = ""
    income: tuple[str, ...] = ()
    wallet: str = ""
    reserved: str = ""
    distribution: str = ""
    clearing: str = ""

    @property
    def inflows(self) -> tuple[str, ...]:
        """The ledger kinds that bring money in."""
        return tuple(kind for kind in (self.funding, self.distribution) if kind)


@dataclass(frozen=True)
class Rules:
    """What a target promises: the facts that general invariants need about a particular service.

    A target with `standings` has named all ledger kinds: by them, by its effects, and those that
    belong to neither in `other_ledger_kinds`. `partner_account_is_owner` says that orders name the
    owner as their account, `instrument_param` which parameter of operations is the instrument that
    orders and positions name; without them only sums over all of them can be compared. Subjects of
    `share_kind` are shares of a distribution: a terminal one was paid to its owner, if it has one.
    """

    lifecycles: tuple[Lifecycle, ...] = ()
    effects: tuple[Effect, ...] = ()
    accounts: ChartOfAccounts = field(default_factory=lambda: ChartOfAccounts((), (), ""))
    idempotent_kinds: tuple[str, ...] = ()
    standings: tuple[Standing, ...] = ()
    other_ledger_kinds: tuple[str, ...] = ()
    partner_account_is_owner: bool = False
    instrument_param: str = ""
    share_kind: str = ""
