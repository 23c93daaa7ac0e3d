"""Small cases by hand: a shop that is not the reference service, with its books and its journal.

A `World` starts empty; `journey` adds what one healthy purchase leaves behind; tests then change
what they are about.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from chaos_scenarios import invariants as content
from harness.core.books import (
    Balance,
    ChartOfAccounts,
    Effect,
    Lifecycle,
    PartnerEvent,
    PartnerOrder,
    Posting,
    Rules,
    Standing,
    Subject,
    Transition,
)
from harness.core.history import Attempt, Operation, Outcome
from harness.core.journal import Record
from harness.core.records import (
    ExchangeRecord,
    FaultPlan,
    FaultRecord,
    LoadPlan,
    OperationRecord,
    PlanRecord,
    ProofRecord,
    ResolutionRecord,
    ScenarioPlan,
    encode,
    table,
)
from harness.core.run_record import RunRecord
from harness.core.verdict import Judgement
from harness.oracle.case import TABLES, Case, cases
from harness.oracle.invariant import Invariant, invariants
from harness.oracle.judge import judge

OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO
STORM = "storm"
MS = 1_000_000
RULES = Rules(
    lifecycles=(
        Lifecycle(
            "purchase",
            starts=("NEW",),
            edges=(("NEW", "OPEN"), ("OPEN", "DONE"), ("OPEN", "DROPPED")),
            terminal=("DONE", "DROPPED"),
            resting=("NEW",),
        ),
    ),
    effects=(
        Effect("pay-in", "topup"),
        Effect(
            "buy",
            "settle",
            partner=True,
            subject_kind="purchase",
            terminal_state="DONE",
            cancelled_by="call-off",
        ),
        Effect("open", "", subject_kind="purchase"),
        Effect("share-out", "gather"),
    ),
    accounts=ChartOfAccounts(
        client=("PURSE", "BLOCKED", "SHARES", "POOL", "LEFT"),
        external=("BANK", "HELD"),
        funding="topup",
        position="HELD",
        invested="SHARES",
        suspense="ODD",
        income=("FEES",),
        wallet="PURSE",
        reserved="BLOCKED",
        distribution="gather",
        clearing="POOL",
    ),
    idempotent_kinds=("buy",),
    standings=(
        Standing("purchase", "NEW"),
        Standing("purchase", "OPEN", once=("reserve",), net=(("PURSE", -1), ("BLOCKED", 1))),
        Standing(
            "purchase",
            "DONE",
            once=("reserve", "settle"),
            net=(("PURSE", -1), ("SHARES", 1), ("HELD", -1), ("BANK", 1)),
        ),
        Standing("purchase", "DROPPED", maybe=("reserve", "undo")),
        Standing("share", "PAID", once=("share",), net=(("POOL", -1), ("PURSE", 1))),
    ),
    other_ledger_kinds=("left",),
    share_kind="share",
    partner_account_is_owner=True,
    instrument_param="article",
)


# What is shared out among the first three purchases, and what is right: the exact shares, by the
# prices, are 167.19, 333.22 and 499.59.
BONUS, FAIR_SHARES = 1000, (167, 333, 500)


def price(number: int) -> int:
    """What purchase `number` costs, in minor units."""
    return 1000 * number + 7


def paid(number: int) -> int:
    """What its client pays in before."""
    return 1000 * number + 500


def attempt(operation: str, number: int, outcome: Outcome, at_ms: int, **more: object) -> Attempt:
    """One attempt of 5 ms; without more it is answered as its outcome suggests."""
    status = {OK: 202, FAIL: 422, INFO: None}[outcome]
    base = Attempt(operation, number, "door-1", at_ms * MS, (at_ms + 5) * MS, status, outcome)
    if outcome is OK:
        base = replace(base, body_sha256="aa", location="/here")
    return replace(base, **more)  # type: ignore[arg-type]


def all_invariants() -> dict[str, Invariant]:
    """Everything that the content folder registers."""
    invariants.discover(content.__name__)
    return {entry.name: entry.value for entry in invariants}


@dataclass
class World:
    """What a scenario leaves behind, as lists that tests change."""

    name: str = STORM
    operations: list[OperationRecord] = field(default_factory=list)
    before: list[Posting] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    partner_orders: list[PartnerOrder] = field(default_factory=list)
    partner_events: list[PartnerEvent] = field(default_factory=list)
    exchanges: list[ExchangeRecord] = field(default_factory=list)
    resolutions: list[ResolutionRecord] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    fault_events: tuple[str, ...] = ("intent", "applied", "healed")
    fault_aim: str = "storm/buy/1"
    proofs: list[ProofRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    settled: bool = True
    moments: tuple[str, ...] = ("before", "after")
    wanted: tuple[str, ...] = ("applied-exactly-once",)
    journeys_planned: int | None = None
    operations_min: int = 0
    operations_lost: int = 0

    # -- history --------------------------------------------------------------------------------

    def operation(
        self,
        kind: str,
        number: int,
        *outcomes: Outcome,
        amount: int = 0,
        subject: str = "",
        phase: str = "load",
        key: str | None = None,
        name: str = "",
        at_ms: int | None = None,
        params: dict[str, str] | None = None,
    ) -> OperationRecord:
        """Add an operation with one attempt an outcome (one `ok` when none is given)."""
        id = f"{self.name}/{name or kind}/{number}"
        start = 100 * number if at_ms is None else at_ms
        attempts = tuple(
            attempt(id, n, outcome, start + 10 * n) for n, outcome in enumerate(outcomes or (OK,))
        )
        told = [a.outcome for a in attempts]
        overall = OK if OK in told else FAIL if set(told) == {FAIL} else INFO
        record = OperationRecord(
            self.name,
            phase,
            Operation(
                id, kind, number, f"user-{number}", f"key-{number}" if key is None else key,
                trace=f"trace-{name or kind}-{number}", amount_minor=amount, currency="EUR",
                params=params or {},
            ),
            overall,
            subject,
            attempts,
        )  # fmt: skip
        self.operations.append(record)
        return record

    def change(self, id: str, **fields: object) -> None:
        """Change an operation, by the end of its id."""
        index = next(i for i, r in enumerate(self.operations) if r.operation.id.endswith(id))
        self.operations[index] = replace(self.operations[index], **fields)  # type: ignore[arg-type]

    # -- books ----------------------------------------------------------------------------------

    def post(
        self, id: str, kind: str, subject: str, amount: int, *legs: str, order: int = 0
    ) -> list[Posting]:
        """Add a ledger transaction with legs like `D BANK` or `C PURSE:1`, which is user 1's."""
        found = []
        for leg in legs:
            side, account = leg.split()
            part, _, name = account.partition(":")
            owner, instrument = ("", name) if part == "HELD" else (name and f"user-{name}", "")
            found.append(
                Posting(
                    id, kind, subject, account, part, side, amount, "EUR", order, owner, instrument
                )
            )
        self.postings += found
        return found

    def top_up(self, number: int, amount: int | None = None, id: str = "") -> list[Posting]:
        """The ledger's side of a payment."""
        legs = ("D BANK", f"C PURSE:{number}")
        value = paid(number) if amount is None else amount
        return self.post(id or f"t{number}", "topup", f"ref-{number}", value, *legs, order=number)

    def settle(self, number: int, id: str = "") -> list[Posting]:
        """The ledger's side of a finished purchase."""
        n = number
        legs = (f"D BLOCKED:{n}", "D HELD:X", f"C SHARES:{n}", "C BANK")
        return self.post(id or f"s{n}", "settle", f"p{n}", price(n), *legs, order=2000 + n)

    def share_out(
        self, *shares: int, asked: int = BONUS, phase: str = "baseline", at_ms: int = 5000
    ) -> None:
        """A sum comes in and is shared out among the clients 1, 2 …"""
        self.operation(
            "share-out", 9, amount=asked, params={"article": "X"}, phase=phase, at_ms=at_ms
        )
        self.post("b", "gather", "b9", BONUS, "D BANK", "C POOL", order=5000)
        for number, amount in enumerate(shares, 1):
            self.pay_share(number, amount)
            user = f"user-{number}"
            self.subjects.append(Subject("share", f"g{number}", "PAID", user, amount, "EUR", True))

    def pay_share(self, number: int, amount: int, id: str = "") -> None:
        """One share reaches its client's purse."""
        legs, order = ("D POOL", f"C PURSE:{number}"), 6000 + len(self.postings)
        self.post(id or f"g{number}", "share", f"g{number}", amount, *legs, order=order)
        self.balances = [
            replace(b, amount_minor=b.amount_minor + amount * (b.account == f"PURSE:{number}"))
            for b in self.balances
        ]

    def buy_at_partner(self, number: int, id: str = "") -> None:
        """The partner's side of a finished purchase."""
        order, seq = id or f"o{number}", len(self.partner_orders)
        self.partner_orders.append(
            PartnerOrder(order, f"c{number}", f"user-{number}", "X", price(number), "EUR", "", seq)
        )

    def state(self, number: int, *states: str) -> None:
        """Give purchase `number` a life and a row in the last of these states."""
        for step, (source, to) in enumerate(zip(("", *states), states, strict=False)):
            self.transitions.append(Transition("purchase", f"p{number}", source, to, step))
        done, rests = states[-1] in ("DONE", "DROPPED"), states[-1] == "NEW"
        self.subjects.append(
            Subject(
                "purchase", f"p{number}", states[-1], f"user-{number}", price(number), "EUR",
                done, rests,
            )
        )  # fmt: skip

    def journey(self, number: int, phase: str = "load") -> None:
        """A client pays in, buys, and all goes well."""
        n = number
        self.operation("pay-in", n, amount=paid(n), phase="prepare", name="pay-in")
        self.top_up(n)
        self.before = self.before + self.postings[-2:]
        self.operation("buy", n, amount=price(n), subject=f"p{n}", phase=phase)
        self.operation("await", n, phase=phase, key="", at_ms=100 * n + 50)
        legs = (f"D PURSE:{n}", f"C BLOCKED:{n}")
        self.post(f"r{n}", "reserve", f"p{n}", price(n), *legs, order=1000 + n)
        self.settle(n)
        self.buy_at_partner(n)
        self.state(n, "NEW", "OPEN", "DONE")
        left = paid(n) - price(n)
        self.balances.append(Balance(f"PURSE:{n}", "PURSE", "EUR", left, owner=f"user-{n}"))
        self.operation(
            "open", n, amount=price(n), subject=f"p{n}", phase="prepare", params={"article": "X"}
        )

    def refused_by_partner(self, number: int) -> None:
        """The partner's journal says that it refused purchase `number`."""
        seq = len(self.partner_events)
        event = PartnerEvent(seq, 0, "rejected", f"c{number}", price(number), "")
        self.partner_events.append(event)

    def fault(self, id: str, *, aim: str = "storm/buy/1", bit: bool = True, at_ms: int = 0) -> None:
        """Plan a fault that is applied, healed and proved."""
        self.faults.append(id)
        self.fault_aim = aim
        self.proofs.append(ProofRecord(self.name, id, bit, "the server", {"seen": "1"}, at_ms * MS))

    # -- journal --------------------------------------------------------------------------------

    def plan(self) -> ScenarioPlan:
        """The scenario as it was planned."""
        faults = tuple(
            FaultPlan(id, "cut", "door-1-store", self.fault_aim, {}) for id in self.faults
        )
        numbers = {r.operation.number for r in self.operations if r.phase == "load"}
        planned = len(numbers) if self.journeys_planned is None else self.journeys_planned
        load = LoadPlan("shopping", 2, "threads", planned)
        return ScenarioPlan(
            self.name,
            "Does it hold?",
            self.wanted,
            faults,
            load,
            operations_min=self.operations_min,
        )

    def entries(self) -> Iterable[tuple[str, object]]:
        """What the engine would write about the scenario, in order."""
        yield from self._in_phase("prepare")
        yield from self._in_phase("baseline")
        for event in self.fault_events:
            for id in self.faults:
                yield (
                    "fault",
                    FaultRecord(self.name, id, "cut", "door-1-store", self.fault_aim, event, {}),
                )
            if event == "applied":
                yield from self._in_phase("load")
        if "applied" not in self.fault_events:
            yield from self._in_phase("load")
        for moment in ("begin", "end") if self.settled else ("begin",):
            yield "phase", {"scenario": self.name, "phase": "settle", "event": moment}
        yield from (("exchange", exchange) for exchange in self.exchanges)
        yield from (("resolution", resolution) for resolution in self.resolutions)
        yield from (("problem", {"scenario": self.name, "what": p}) for p in self.problems)
        for moment in self.moments:
            yield from self._books(moment)
        yield from (("proof", proof) for proof in self.proofs)

    def _in_phase(self, phase: str) -> Iterable[tuple[str, object]]:
        yield "phase", {"scenario": self.name, "phase": phase, "event": "begin"}
        records = [r for r in self.operations if r.phase == phase]
        yield from (("operation", r) for r in records)
        counted = len(records) + self.operations_lost
        end = {"scenario": self.name, "phase": phase, "event": "end", "operations": counted}
        yield "phase", end

    def _books(self, moment: str) -> Iterable[tuple[str, object]]:
        parts = {name: getattr(self, name, []) for name in TABLES}
        if moment == "before":
            parts = {**dict.fromkeys(TABLES, []), "postings": self.before}
        for name, rows in parts.items():
            if rows:
                where = {"scenario": self.name, "moment": moment, "table": name}
                yield "books", {**where, **table(rows)}
        counts = {name: len(rows) for name, rows in parts.items()}
        yield (
            "snapshot",
            {"scenario": self.name, "moment": moment, "snapshot": "", "counts": counts},
        )

    def case(self) -> Case:
        """The scenario as invariants see it."""
        return next(case for case in cases(journal(self)) if case.scenario == self.name)

    def check(self, name: str) -> Judgement:
        """What one invariant of the content folder says."""
        return all_invariants()[name].check(self.case())


def journal(
    *worlds: World,
    seal: bool = True,
    extra: Iterable[tuple[str, object]] = (),
    planned: Iterable[ScenarioPlan] | None = None,
    variant: str = "",
) -> list[Record]:
    """A whole journal of some worlds; `extra` comes before the seal."""
    plan = PlanRecord(
        "run-1", 7, "smoke", "shop", "embedded", "stormproof run", "2026-01-01T00:00:00.000Z", 1000,
        scenarios=tuple(world.plan() for world in worlds) if planned is None else tuple(planned),
        variant=variant,
    )  # fmt: skip
    entries: list[tuple[str, object]] = [("plan", plan), ("rules", RULES)]
    for world in worlds:
        entries += world.entries()
    entries += extra
    if seal:
        entries.append(("seal", {"records": len(entries) + 1}))
    return [
        Record(seq, seq * MS, type, encode(data), f"{seq:064x}")
        for seq, (type, data) in enumerate(entries)
    ]


def judged(*worlds: World, **options: object) -> RunRecord:
    """The run record of some worlds."""
    return judge(journal(*worlds, **options), all_invariants())  # type: ignore[arg-type]


def healthy(journeys: int = 3, **fields: object) -> World:
    """A world in which every journey went well."""
    world = World(**fields)  # type: ignore[arg-type]
    for number in range(1, journeys + 1):
        world.journey(number)
    return world
