"""Each safety and liveness invariant: a case that holds, one that names the culprit, one too thin.

Every broken case changes one thing in a healthy world.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.core.history import Outcome
from harness.core.verdict import Finding, Verdict
from tests.unit.oracle.builder import (
    FAIL,
    FAIR_SHARES,
    INFO,
    OK,
    World,
    all_invariants,
    attempt,
    healthy,
    paid,
    price,
)

JUDGED = ("safety", "liveness")
NAMES = [name for name, value in all_invariants().items() if value.kind in JUDGED]
Change = Callable[[World], object]


def keys(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.key for finding in findings}


def busy() -> World:
    """A healthy world with a bonus, in which a reply was lost and asked for again."""
    world = healthy(3)
    world.share_out(*FAIR_SHARES)
    op = next(r for r in world.operations if r.operation.kind == "buy")
    id = op.operation.id
    lost, again = attempt(id, 0, INFO, 100), attempt(id, 1, OK, 110)
    world.change(id, attempts=(lost, again, replace(again, number=2, replayed=True)))
    return world


@pytest.mark.parametrize("name", NAMES)
def test_holds_in_a_healthy_world(name: str) -> None:
    judgement = busy().check(name)
    assert judgement.verdict is Verdict.PASS, judgement
    assert judgement.checked > 0


@pytest.mark.parametrize("name", NAMES)
def test_is_inconclusive_when_there_is_nothing_to_look_at(name: str) -> None:
    assert World().check(name).verdict is Verdict.INCONCLUSIVE


def lose(world: World, prefix: str) -> None:
    world.postings = [p for p in world.postings if p.transaction != prefix]


def drop_leg(world: World, transaction: str, account_class: str) -> None:
    world.postings = [
        p
        for p in world.postings
        if (p.transaction, p.account_class) != (transaction, account_class)
    ]


def restate(world: World, number: int, state: str, *, terminal: bool) -> None:
    world.subjects = [
        replace(s, state=state, terminal=terminal, resting=False) if s.id == f"p{number}" else s
        for s in world.subjects
    ]


def refuse(world: World, number: int) -> None:
    refused = (attempt(f"storm/buy/{number}", 0, FAIL, 100 * number),)
    world.change(f"buy/{number}", outcome=FAIL, attempts=refused)


def ask_in_vain(world: World) -> None:
    lose(world, "s2")
    world.partner_orders = [o for o in world.partner_orders if o.order != "o2"]


def fail_but_keep(world: World) -> None:
    ask_in_vain(world)
    restate(world, 2, "DROPPED", terminal=True)


def misprice(world: World) -> None:
    world.partner_orders[1] = replace(world.partner_orders[1], amount_minor=999)


def swap_body(world: World) -> None:
    op = next(r for r in world.operations if r.operation.id == "storm/buy/1")
    world.change("buy/1", attempts=(*op.attempts[:2], replace(op.attempts[2], body_sha256="bb")))


def refuse_later(world: World) -> None:
    op = next(r for r in world.operations if r.operation.id == "storm/buy/1")
    world.change("buy/1", attempts=(*op.attempts, attempt("storm/buy/1", 3, FAIL, 900)))


def step(world: World, index: int, **fields: object) -> None:
    world.transitions[index] = replace(world.transitions[index], **fields)  # type: ignore[arg-type]


def shift(world: World, **fields: object) -> None:
    world.postings[0] = replace(world.postings[0], **fields)  # type: ignore[arg-type]


def balance(world: World, **fields: object) -> None:
    world.balances[0] = replace(world.balances[0], **fields)  # type: ignore[arg-type]


def spend_early(world: World) -> None:
    """The reservation came before the money that it reserves."""
    world.postings = [replace(p, order=1) if p.transaction == "r1" else p for p in world.postings]
    world.postings = [replace(p, order=2) if p.transaction == "t1" else p for p in world.postings]


def empty_purse(world: World) -> None:
    world.post("x", "reserve", "px", 400, "D PURSE:9", "C BLOCKED:9")


def mint(world: World) -> None:
    world.post("m1", "bonus", "b", 5, "D BANK", "C PURSE:1")
    balance(world, amount_minor=paid(1) - price(1) + 5)


def hold_again(world: World) -> None:
    for time in range(8):
        world.post(f"r2-{time}", "reserve", "p2", 1, "D PURSE:2", "C BLOCKED:2")


def restate_new(world: World) -> None:
    """It was never accepted, according to its state."""
    restate(world, 2, "NEW", terminal=False)


def move_leg(world: World, transaction: str, account_class: str, number: int) -> None:
    world.postings = [
        replace(p, account=f"{account_class}:{number}", owner=f"user-{number}")
        if (p.transaction, p.account_class) == (transaction, account_class)
        else p
        for p in world.postings
    ]


def set_balances(world: World) -> None:
    """The cached balances follow the entries, as those of a service do that only errs in whom."""
    for index, known in enumerate(world.balances):
        legs = [p for p in world.postings if p.account == known.account]
        total = sum(p.amount_minor if p.side == "C" else -p.amount_minor for p in legs)
        world.balances[index] = replace(known, amount_minor=total)


def hold_of_another(world: World) -> None:
    move_leg(world, "r2", "PURSE", 3)


def credit_another(world: World) -> None:
    move_leg(world, "s2", "SHARES", 3)


def pay_in_for_another(world: World) -> None:
    move_leg(world, "t2", "PURSE", 3)


def swap_pay_ins(world: World) -> None:
    move_leg(world, "t2", "PURSE", 3)
    move_leg(world, "t3", "PURSE", 2)
    set_balances(world)


def relabel(world: World, transaction: str, subject: str) -> None:
    world.postings = [
        replace(p, subject=subject) if p.transaction == transaction else p for p in world.postings
    ]


def give_away(world: World) -> None:
    world.subjects = [replace(s, owner="user-3") if s.id == "p2" else s for s in world.subjects]


def create_again(world: World) -> None:
    """A retry of the creation made a second purchase."""
    world.state(2, "NEW")
    world.subjects[-1] = replace(world.subjects[-1], id="again")


def forget_buying(world: World) -> None:
    """It was opened, but nobody ever asked for its execution."""
    world.operations = [r for r in world.operations if not r.operation.id.endswith("buy/2")]


def invent_fee(world: World) -> None:
    world.post("f1", "fee", "p2", 90, "D PURSE:2", "C FEES")
    set_balances(world)


def transfer(world: World) -> None:
    world.post("v1", "repair", "p2", 90, "D PURSE:2", "C PURSE:3")
    set_balances(world)


def disown(world: World) -> None:
    world.postings = [replace(p, owner="") if p.account == "PURSE:2" else p for p in world.postings]
    world.balances[1] = replace(world.balances[1], owner="")


def order(world: World, **fields: object) -> None:
    """Change the order of purchase 2."""
    world.partner_orders[1] = replace(world.partner_orders[1], **fields)  # type: ignore[arg-type]


def other_instrument_everywhere(world: World) -> None:
    world.partner_orders = [replace(o, instrument="Y") for o in world.partner_orders]


def suspend(world: World) -> None:
    world.post("z", "repair", "b", 5, "D ODD", "C BANK")


BROKEN: list[tuple[str, Change, str, str]] = [
    # invariant, what is broken, the finding's key, the culprit that it must name
    ("applied-exactly-once", lambda w: w.settle(2, id="again"), "applied-twice", "purchase p2"),
    (
        "applied-exactly-once",
        lambda w: w.buy_at_partner(2, id="o9"),
        "executed-twice",
        "purchase p2",
    ),
    ("applied-exactly-once", lambda w: lose(w, "s2"), "ledger-lacks-it", "purchase p2"),
    ("applied-exactly-once", lambda w: w.partner_orders.pop(1), "partner-lacks-it", "purchase p2"),
    ("applied-exactly-once", ask_in_vain, "acknowledged-without-effect", "purchase p2"),
    ("applied-exactly-once", lambda w: refuse(w, 2), "applied-after-refusal", "purchase p2"),
    ("applied-exactly-once", lambda w: drop_leg(w, "s2", "SHARES"), "legs-missing", "purchase p2"),
    ("applied-exactly-once", lambda w: w.top_up(7, id="t7"), "out-of-thin-air", "topup ref-7"),
    ("applied-exactly-once", misprice, "out-of-thin-air", "partner order c2"),
    ("applied-exactly-once", fail_but_keep, "wrong-net", "purchase p2"),
    ("applied-exactly-once", fail_but_keep, "accepted-then-dropped", "purchase p2"),
    ("applied-exactly-once", hold_again, "wrong-transactions", "purchase p2"),
    ("applied-exactly-once", hold_again, "wrong-net", "purchase p2"),
    ("applied-exactly-once", lambda w: lose(w, "r2"), "wrong-transactions", "purchase p2"),
    ("applied-exactly-once", lambda w: restate_new(w), "wrong-transactions", "purchase p2"),
    ("applied-exactly-once", hold_of_another, "anothers-money", "purchase p2"),
    ("applied-exactly-once", lambda w: relabel(w, "r2", "p9"), "without-a-row", "reserve p9"),
    ("applied-exactly-once", lambda w: relabel(w, "s2", "p1"), "wrong-place", "purchase p2"),
    ("applied-exactly-once", credit_another, "wrong-place", "purchase p2"),
    ("applied-exactly-once", pay_in_for_another, "wrong-place", "pay-in storm/pay-in/2"),
    ("applied-exactly-once", give_away, "wrong-place", "purchase p2"),
    ("applied-exactly-once", create_again, "applied-twice", "purchase p2"),
    ("applied-exactly-once", create_again, "wrong-place", "purchase p2"),
    ("applied-exactly-once", lambda w: w.state(7, "NEW"), "out-of-thin-air", "purchase p7"),
    ("applied-exactly-once", forget_buying, "out-of-thin-air", "settle p2"),
    ("applied-exactly-once", forget_buying, "out-of-thin-air", "partner order c2"),
    ("applied-exactly-once", mint, "unknown-kind", "bonus b"),
    (
        "applied-exactly-once",
        lambda w: restate(w, 2, "DROPPED", terminal=True),
        "applied-after-refusal",
        "purchase p2",
    ),
    (
        "applied-exactly-once",
        lambda w: lose(w, "t3"),
        "acknowledged-without-effect",
        "pay-in storm",
    ),
    ("money-conserved", lambda w: lose(w, "t3"), "clients-own-another-sum", "the ledger in EUR"),
    (
        "money-conserved",
        lambda w: lose(w, "t3"),
        "deposit-acknowledged-without-effect",
        "pay-in storm/pay-in/3",
    ),
    ("money-conserved", lambda w: w.top_up(3, id="tt"), "deposit-applied-twice", "pay-in/3"),
    ("money-conserved", mint, "clients-own-another-sum", "the ledger in EUR"),
    ("money-conserved", suspend, "suspense-not-empty", "the ledger in EUR"),
    ("money-conserved", suspend, "assets-differ-from-liabilities", "the ledger in EUR"),
    ("money-conserved", invent_fee, "fees-nobody-charged", "the ledger in EUR"),
    ("money-conserved", invent_fee, "clients-own-another-sum", "the ledger in EUR"),
    ("owner-conserved", swap_pay_ins, "owns-another-sum", "user user-2"),
    ("owner-conserved", swap_pay_ins, "owns-another-sum", "user user-3"),
    ("owner-conserved", transfer, "wallet-holds-another-sum", "user user-3"),
    ("owner-conserved", credit_another, "invested-another-sum", "user user-3"),
    ("owner-conserved", invent_fee, "owns-another-sum", "user user-2"),
    ("owner-conserved", lambda w: balance(w, amount_minor=1), "owns-another-sum", "user user-1"),
    ("owner-conserved", disown, "no-owner", "PURSE"),
    ("partner-agrees", lambda w: w.buy_at_partner(2, id="o9"), "executed-twice", "purchase p2"),
    ("partner-agrees", lambda w: order(w, account="user-3"), "another-account", "order c2"),
    ("partner-agrees", lambda w: order(w, account="X"), "another-account", "purchase p2"),
    ("partner-agrees", lambda w: order(w, instrument="Y"), "another-instrument", "purchase p2"),
    ("partner-agrees", other_instrument_everywhere, "another-instrument", "purchase p1"),
    ("partner-agrees", lambda w: order(w, currency="USD"), "another-currency", "purchase p2"),
    ("partner-agrees", lambda w: order(w, instrument="Y"), "sums-differ", "positions"),
    ("partner-agrees", lambda w: w.partner_orders.pop(1), "unknown-to-partner", "purchase p2"),
    ("partner-agrees", misprice, "unknown-to-target", "999 EUR"),
    ("partner-agrees", misprice, "unknown-to-partner", "purchase p2"),
    ("partner-agrees", lambda w: w.state(2, "NEW", "OPEN", "DONE"), "one-order-for-two", "p2"),
    ("partner-agrees", lambda w: lose(w, "s2"), "sums-differ", "positions"),
    ("partner-agrees", lambda w: lose(w, "s2"), "sums-differ", "invested amounts"),
    ("responses-stable", swap_body, "reply-changed", "key key-1"),
    ("responses-stable", refuse_later, "reply-changed", "key key-1"),
    ("states-legal", lambda w: step(w, 0, to="OPEN"), "illegal-start", "purchase p1"),
    ("states-legal", lambda w: step(w, 1, to="DONE"), "illegal-step", "purchase p1"),
    ("states-legal", lambda w: step(w, 2, source="DONE"), "left-a-terminal-state", "purchase p1"),
    ("states-legal", lambda w: step(w, 2, source="NEW"), "broken-life", "purchase p1"),
    ("states-legal", lambda w: w.subjects.pop(0), "steps-without-a-row", "purchase p1"),
    (
        "states-legal",
        lambda w: restate(w, 2, "DROPPED", terminal=True),
        "row-differs-from-its-steps",
        "purchase p2",
    ),
    ("snapshot-grows", lambda w: lose(w, "t1"), "posting-removed", "topup ref-1"),
    ("snapshot-grows", lambda w: shift(w, amount_minor=1), "posting-changed", "topup ref-1"),
    ("snapshot-grows", lambda w: shift(w, order=77), "posting-changed", "topup ref-1"),
    (
        "ledger-balanced",
        lambda w: shift(w, amount_minor=1),
        "transaction-out-of-balance",
        "(transaction t1)",
    ),
    ("ledger-balanced", lambda w: shift(w, currency="USD"), "ledger-out-of-balance", "in USD"),
    (
        "ledger-balanced",
        lambda w: shift(w, amount_minor=-1),
        "amount-not-positive",
        "(transaction t1)",
    ),
    ("ledger-balanced", lambda w: drop_leg(w, "t1", "BANK"), "single-leg", "(transaction t1)"),
    ("ledger-balanced", lambda w: balance(w, amount_minor=1), "cached-balance-wrong", "PURSE:1"),
    ("ledger-balanced", spend_early, "overdrawn", "PURSE:1"),
    ("ledger-balanced", empty_purse, "overdrawn", "PURSE:9"),
    (
        "nothing-stuck",
        lambda w: restate(w, 2, "OPEN", terminal=False),
        "stuck-purchase",
        "purchase p2",
    ),
    ("nothing-stuck", ask_in_vain, "acknowledged-without-effect", "purchase p2"),
    ("shares-fair", lambda w: lose(w, "g2"), "wrong-sum", "gather b9"),
    ("shares-fair", lambda w: w.pay_share(3, 2, "more"), "wrong-share", "user-3"),
]


@pytest.mark.parametrize(("name", "change", "key", "culprit"), BROKEN)
def test_names_the_culprit(name: str, change: Change, key: str, culprit: str) -> None:
    world = busy()
    change(world)
    judgement = world.check(name)
    assert judgement.verdict is Verdict.FAIL
    named = [f.subject for f in judgement.findings if f.key == key]
    assert any(culprit in subject for subject in named), judgement.findings


def test_every_invariant_is_seen_to_fail() -> None:
    assert {name for name, *_ in BROKEN} == set(NAMES)


def test_findings_lead_to_the_records_of_their_operations() -> None:
    world = busy()
    world.settle(2, id="again")
    case = world.case()
    finding = all_invariants()["applied-exactly-once"].check(case).findings[0]
    assert finding.operation == "storm/buy/2"
    assert finding.records == (case.record_of["storm/buy/2"],)


@pytest.mark.parametrize(
    ("name", "change", "operation"),
    [
        ("owner-conserved", lambda w: swap_pay_ins(w), "storm/pay-in/2"),
        ("applied-exactly-once", lambda w: lose(w, "r2"), "storm/open/2"),
        ("partner-agrees", lambda w: order(w, account="X"), "storm/buy/2"),
    ],
)
def test_findings_name_an_operation(name: str, change: Change, operation: str) -> None:
    world = busy()
    change(world)
    case = world.case()
    finding = all_invariants()[name].check(case).findings[0]
    assert finding.operation == operation
    assert case.record_of[operation] in finding.records


# -- bounds: what must not be accused ---------------------------------------------------------


def test_an_unknown_outcome_allows_none_or_one_effect() -> None:
    for keep in (True, False):
        world = healthy(3)
        world.change("buy/2", outcome=INFO)
        if not keep:
            ask_in_vain(world)
            lose(world, "r2")
            restate(world, 2, "NEW", terminal=False)
        assert world.check("applied-exactly-once").verdict is Verdict.PASS


def test_an_unknown_outcome_allows_no_second_effect() -> None:
    world = healthy(3)
    world.change("buy/2", outcome=INFO)
    world.buy_at_partner(2, id="o9")
    assert keys(world.check("applied-exactly-once").findings) == {"executed-twice"}


def test_clients_that_share_an_amount_need_one_effect_in_all() -> None:
    world = healthy(3)
    for client in range(4):
        world.operation("buy", 2, FAIL, amount=price(2), name=f"buy-{client}", key=f"own-{client}")
    assert world.check("applied-exactly-once").verdict is Verdict.PASS
    refuse(world, 2)
    found = world.check("applied-exactly-once").findings
    assert [f.key for f in found] == ["applied-after-refusal"]


def test_an_accepted_purchase_that_ended_without_success_needs_no_effect() -> None:
    world = healthy(3)
    fail_and_give_back(world)
    assert keys(world.check("applied-exactly-once").findings) == {"accepted-then-dropped"}
    world.refused_by_partner(3)
    assert keys(world.check("applied-exactly-once").findings) == {"accepted-then-dropped"}
    world.refused_by_partner(2)
    for name in ("applied-exactly-once", "owner-conserved", "money-conserved", "partner-agrees"):
        assert world.check(name).verdict is Verdict.PASS


def fail_and_give_back(world: World) -> None:
    fail_but_keep(world)
    world.post("u2", "undo", "p2", price(2), "D BLOCKED:2", "C PURSE:2")
    set_balances(world)


@pytest.mark.parametrize(("outcome", "explains"), [(OK, True), (INFO, True), (FAIL, False)])
def test_a_client_who_calls_off_explains_the_end(outcome: Outcome, explains: bool) -> None:
    world = healthy(3)
    fail_and_give_back(world)
    world.operation("call-off", 2, outcome, params={"purchase": "p2"})
    assert (world.check("applied-exactly-once").verdict is Verdict.PASS) is explains
    other = healthy(3)
    fail_and_give_back(other)
    other.operation("call-off", 2, OK, params={"purchase": "p3"})
    assert other.check("applied-exactly-once").verdict is Verdict.FAIL


def test_what_was_called_off_before_it_was_accepted_has_no_transaction() -> None:
    world = healthy(2)
    world.operation("open", 8, amount=price(8), subject="p8", params={"article": "X"})
    world.state(8, "NEW", "OPEN", "DROPPED")
    assert world.check("applied-exactly-once").verdict is Verdict.PASS


def test_a_final_read_that_found_nothing_is_no_refusal() -> None:
    world = healthy(3)
    lost = (attempt("storm/buy/2", 0, INFO, 200), attempt("storm/buy/2", 1, FAIL, 220))
    world.change("buy/2", outcome=FAIL, attempts=lost)
    assert world.check("applied-exactly-once").verdict is Verdict.PASS
    ask_in_vain(world)
    lose(world, "r2")
    restate(world, 2, "NEW", terminal=False)
    assert world.check("applied-exactly-once").verdict is Verdict.PASS
    world = healthy(3)
    world.change("buy/2", outcome=FAIL, attempts=lost)
    world.buy_at_partner(2, id="o9")
    assert keys(world.check("applied-exactly-once").findings) == {"executed-twice"}


def test_a_refused_creation_makes_nothing() -> None:
    world = healthy(3)
    world.operation("open", 9, FAIL, amount=price(9), params={"article": "X"})
    assert world.check("applied-exactly-once").verdict is Verdict.PASS
    world.state(9, "NEW")
    assert keys(world.check("applied-exactly-once").findings) == {"applied-after-refusal"}


def test_kinds_are_unknown_only_to_rules_that_name_all() -> None:
    world = healthy(3)
    mint(world)
    case = world.case()
    case.rules = replace(case.rules, other_ledger_kinds=("bonus",))
    assert all_invariants()["applied-exactly-once"].check(case).verdict is Verdict.PASS
    case.rules = replace(case.rules, standings=(), other_ledger_kinds=())
    assert all_invariants()["applied-exactly-once"].check(case).verdict is Verdict.PASS


def test_fees_that_the_partner_charged_are_the_clients_to_pay() -> None:
    world = healthy(3)
    invent_fee(world)
    order(world, fee_minor=90)
    for name in ("money-conserved", "owner-conserved"):
        assert world.check(name).verdict is Verdict.PASS
    order(world, fee_minor=0)
    world.partner_orders[2] = replace(world.partner_orders[2], fee_minor=90)
    assert world.check("money-conserved").verdict is Verdict.PASS
    named = {f.subject for f in world.check("owner-conserved").findings}
    assert named == {"user user-2", "user user-3"}


def test_books_that_name_no_owner_accuse_nobody() -> None:
    world = healthy(3)
    world.postings = [replace(p, owner="") for p in world.postings]
    world.balances = [replace(b, owner="") for b in world.balances]
    assert "whose money" in world.check("owner-conserved").unknown[0]
    assert world.check("applied-exactly-once").verdict is Verdict.PASS


def test_a_pay_in_of_unknown_outcome_bounds_what_its_client_owns() -> None:
    for keep in (True, False):
        world = healthy(3)
        world.operation("pay-in", 9, INFO, amount=paid(9))
        if keep:
            world.top_up(9)
        assert world.check("owner-conserved").verdict is Verdict.PASS
        world.top_up(9, id="twice")
        assert (world.check("owner-conserved").verdict is Verdict.FAIL) is keep


def test_where_orders_name_no_client_only_sums_are_compared() -> None:
    world = healthy(3)
    other_instrument_everywhere(world)
    order(world, account="somebody")
    case = world.case()
    case.rules = replace(case.rules, partner_account_is_owner=False, instrument_param="")
    check = all_invariants()["partner-agrees"].check
    assert check(case).verdict is Verdict.PASS
    case.after = replace(case.after, partner_orders=case.after.partner_orders[:2])
    assert {"positions", "invested amounts"} <= {f.subject for f in check(case).findings}


def test_an_instrument_that_no_operation_names_is_unknown() -> None:
    world = healthy(3)
    world.change("open/2", subject="")
    judgement = world.check("partner-agrees")
    assert (judgement.findings, judgement.verdict) == ((), Verdict.INCONCLUSIVE)
    assert "which instrument" in judgement.unknown[0]


def test_before_the_recovery_window_ended_nothing_is_missing_yet() -> None:
    world = healthy(3, settled=False)
    lose(world, "s2")
    assert world.check("applied-exactly-once").verdict is Verdict.PASS
    assert world.check("nothing-stuck").verdict is Verdict.INCONCLUSIVE
    world.partner_orders.pop(1)
    assert world.check("partner-agrees").verdict is Verdict.INCONCLUSIVE


def test_an_acknowledged_purchase_may_still_be_under_way() -> None:
    world = healthy(3, settled=False)
    ask_in_vain(world)
    restate(world, 2, "OPEN", terminal=False)
    assert world.check("applied-exactly-once").verdict is Verdict.PASS
    world.settled = True
    found = world.check("applied-exactly-once").findings
    assert keys(found) == {"acknowledged-without-effect"}


def test_a_purchase_that_balances_but_lacks_legs_is_half_applied() -> None:
    world = healthy(3)
    drop_leg(world, "s2", "SHARES")
    drop_leg(world, "s2", "HELD")
    found = keys(world.check("applied-exactly-once").findings)
    assert found == {"legs-missing", "wrong-net"}


def test_a_deposit_with_one_leg_is_half_applied() -> None:
    world = healthy(3)
    drop_leg(world, "t2", "BANK")
    assert keys(world.check("applied-exactly-once").findings) == {"legs-missing"}


def test_an_account_that_may_be_overdrawn_is_not_accused() -> None:
    world = busy()
    spend_early(world)
    balance(world, may_be_negative=True)
    assert world.check("ledger-balanced").verdict is Verdict.PASS


def test_only_promised_kinds_must_answer_the_same() -> None:
    world = busy()
    op = world.operation("greet", 5, OK, OK)
    first, second = op.attempts
    world.change("greet/5", attempts=(first, replace(second, body_sha256="bb")))
    assert world.check("responses-stable").verdict is Verdict.PASS


def test_a_deposit_of_unknown_outcome_may_be_there_or_not() -> None:
    for keep in (True, False):
        world = healthy(3)
        world.operation("pay-in", 9, INFO, amount=paid(9))
        if keep:
            world.top_up(9)
        assert world.check("money-conserved").verdict is Verdict.PASS


def test_a_refusal_before_the_acknowledgement_contradicts_nothing() -> None:
    world = busy()
    op = next(r for r in world.operations if r.operation.id == "storm/buy/1")
    early = attempt("storm/buy/1", 0, FAIL, 10)
    world.change("buy/1", attempts=(early, *op.attempts[1:]))
    assert world.check("responses-stable").verdict is Verdict.PASS


def test_where_the_order_is_unknown_only_the_end_counts() -> None:
    world = healthy(3)
    world.postings = [replace(p, order=0) for p in reversed(world.postings)]
    assert world.check("ledger-balanced").verdict is Verdict.PASS
    world.postings = [replace(p, order=5) if p.kind == "reserve" else p for p in world.postings]
    world.postings = [replace(p, order=9) if p.kind == "topup" else p for p in world.postings]
    world.post("e", "fee", "f", 0, "D PURSE:1", "C BANK", order=0)
    found = keys(world.check("ledger-balanced").findings)
    assert "overdrawn" in found
    assert [f.subject for f in world.check("ledger-balanced").findings if f.key == "overdrawn"] == [
        "PURSE:2",
        "PURSE:3",
    ]


def test_without_an_earlier_snapshot_growth_is_unknown() -> None:
    world = healthy(2, moments=("after",))
    assert "before" in world.check("snapshot-grows").unknown[0]
