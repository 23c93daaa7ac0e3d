"""Money is read from strings of digits and from nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from investment import ledger, money


@given(st.integers(1, money.MAX_AMOUNT_MINOR))
def test_every_amount_survives_the_way_through_a_string(amount_minor: int) -> None:
    assert money.parse_amount_minor(str(amount_minor)) == amount_minor


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "1\n", "１", "٣", "1" * 19, "NaN"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        money.parse_amount_minor(text)


def test_minor_units_follow_the_currency() -> None:
    exponents = [money.CURRENCY_EXPONENT[code] for code in ("JPY", "EUR", "BHD", "CLF")]
    assert exponents == [0, 2, 3, 4]
    assert "XXX" not in money.CURRENCY_EXPONENT


def test_only_client_accounts_have_a_cached_balance_that_a_credit_raises() -> None:
    wallet = ledger.credit("L:WALLET:u", 5)
    assert (wallet.is_cached, wallet.balance_change) == (True, 5)
    assert ledger.debit("L:WALLET:u", 5).balance_change == -5
    assert not ledger.debit(ledger.cash("EUR"), 5).is_cached
    assert not ledger.credit(ledger.fee("EUR"), 5).is_cached
