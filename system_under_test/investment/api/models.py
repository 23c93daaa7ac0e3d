"""Request bodies: strict, closed, bounded."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..auth import MIN_TOKEN_LENGTH
from ..money import AMOUNT_PATTERN, CURRENCY_EXPONENT, DEPOSIT_PATTERN


def _known_currency(code: str) -> str:
    if code not in CURRENCY_EXPONENT:
        raise ValueError("not a currency of ISO 4217 that is in use")
    return code


AmountMinor = Annotated[
    str,
    Field(
        pattern=AMOUNT_PATTERN,
        description="Minor units, 1 to 18 decimal digits in a string.",
        examples=["12345"],
    ),
]
DepositMinor = Annotated[
    str,
    Field(
        pattern=DEPOSIT_PATTERN,
        description="Minor units, 1 to 15 decimal digits in a string.",
        examples=["12345"],
    ),
]
Currency = Annotated[
    str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"]), AfterValidator(_known_currency)
]
Instrument = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.-]{0,31}$", examples=["FUND-A"])]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")]
Token = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._~+/=-]+$",
        min_length=MIN_TOKEN_LENGTH,
        max_length=255,
        description="The user's bearer token, drawn at random by the caller; never shown again.",
    ),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def fields(self) -> dict[str, str]:
        """The business fields that make a payload the same payload."""
        return {name: str(value) for name, value in self if value is not None}


class NewUser(Body):
    user_id: UUID | None = Field(default=None, strict=False)
    currency: Currency = "EUR"
    token: Token


class NewDeposit(Body):
    amount_minor: DepositMinor
    currency: Currency
    reference: Reference


class NewInvestment(Body):
    amount_minor: AmountMinor
    currency: Currency
    instrument: Instrument
