"""Sums that are shared out among many: seen when a share is wrong, and only then."""

from harness.core.verdict import Judgement
from tests.unit.oracle.builder import BONUS, FAIR_SHARES, World, healthy


def shared_out(*shares: int, **options: object) -> World:
    """Three purchases, then a sum that is shared out among their owners."""
    world = healthy(3)
    world.share_out(*shares, **options)  # type: ignore[arg-type]
    return world


def keys(world: World, name: str) -> set[str]:
    return {finding.key for finding in world.check(name).findings}


def silent(judgement: Judgement) -> bool:
    return not judgement.findings and bool(judgement.unknown)


def test_leftover_units_may_be_anybodys() -> None:
    for shares in ((168, 333, 499), (167, 334, 499), (167, 333, 500)):
        assert keys(shared_out(*shares), "shares-fair") == set()


def test_a_wrong_share_is_seen_though_the_sum_is_right() -> None:
    more, less = shared_out(167, 335, 498).check("shares-fair").findings
    assert (more.key, less.key) == ("wrong-share", "wrong-share")
    assert (more.expected, more.actual) == ("333 to 334 of 1000 EUR minor units", "335")


def test_one_who_invested_nothing_has_no_share() -> None:
    world = shared_out(*FAIR_SHARES)
    world.partner_orders.pop()
    assert keys(world, "shares-fair") == {"wrong-share"}


def test_what_is_left_over_is_seen_once_all_is_quiet() -> None:
    world = shared_out(*FAIR_SHARES[:2])
    assert keys(world, "shares-fair") == {"wrong-sum", "wrong-share"}
    world.settled = False
    assert silent(world.check("shares-fair"))


def test_a_share_that_is_paid_twice_is_seen_by_many() -> None:
    world = shared_out(*FAIR_SHARES)
    world.pay_share(2, FAIR_SHARES[1], id="again")
    assert keys(world, "shares-fair") == {"wrong-sum", "wrong-share"}
    assert "owns-another-sum" in keys(world, "owner-conserved")
    assert "wrong-transactions" in keys(world, "applied-exactly-once")
    assert "overdrawn" in keys(world, "ledger-balanced")


def test_one_that_nobody_asked_for_is_out_of_thin_air() -> None:
    world = shared_out(*FAIR_SHARES, asked=BONUS + 1)
    assert "out-of-thin-air" in keys(world, "applied-exactly-once")
    assert "clients-own-another-sum" in keys(world, "money-conserved")


def test_a_share_that_was_withheld_is_seen() -> None:
    world = shared_out(*FAIR_SHARES[:2])
    world.post("l", "left", "l3", FAIR_SHARES[2], "D POOL", "C LEFT", order=7000)
    [finding] = world.check("shares-fair").findings
    assert (finding.key, finding.actual) == ("wrong-share", "0")


def test_nobody_is_accused_when_the_weights_are_unknown() -> None:
    for beside in ({"phase": "load"}, {"at_ms": 0}):
        assert silent(shared_out(1, 1, 998, **beside).check("shares-fair"))
