"""Shares of a dividend: every unit is given out, nobody is off by one, and order is nothing."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from investment.dividends import allocate
from investment.money import MAX_AMOUNT_MINOR

AMOUNTS = st.integers(min_value=1, max_value=MAX_AMOUNT_MINOR) | st.integers(1, 50)
WEIGHTS = st.dictionaries(
    st.uuids(), st.integers(0, 30) | st.integers(1, MAX_AMOUNT_MINOR), min_size=1, max_size=25
).filter(lambda weights: any(weights.values()))


@given(AMOUNTS, WEIGHTS)
def test_all_is_given_out_and_each_is_within_a_unit_of_the_exact_share(total, weights) -> None:
    shares = allocate(total, weights)
    assert sum(shares.values()) == total
    assert shares.keys() == weights.keys()
    for holder, weight in weights.items():
        exact = Fraction(total * weight, sum(weights.values()))
        assert abs(shares[holder] - exact) < 1
        assert weight or not shares[holder]


@given(AMOUNTS, WEIGHTS, st.randoms())
def test_it_does_not_depend_on_the_order_of_holders(total, weights, random) -> None:
    holders = list(weights)
    random.shuffle(holders)
    assert allocate(total, {holder: weights[holder] for holder in holders}) == allocate(
        total, weights
    )


@given(AMOUNTS, WEIGHTS)
def test_left_over_units_go_to_the_largest_remainders(total, weights) -> None:
    shares, whole = allocate(total, weights), sum(weights.values())
    raised = {h for h in weights if shares[h] > total * weights[h] // whole}
    rank = {h: (-(total * weights[h] % whole), h) for h in weights}
    others = weights.keys() - raised
    assert not raised or not others or max(rank[h] for h in raised) < min(rank[h] for h in others)


def test_equal_remainders_are_broken_by_the_holder() -> None:
    assert allocate(5, {"c": 1, "a": 1, "b": 1}) == {"a": 2, "b": 2, "c": 1}
    assert allocate(1, {"b": 7, "a": 7}) == {"a": 1, "b": 0}
