"""Request bodies: strict, closed, bounded."""

import json
import unicodedata
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from ..auth import MIN_TOKEN_LENGTH
from ..limits import Action
from ..money import AMOUNT_PATTERN, CURRENCY_EXPONENT, DEPOSIT_PATTERN


def _known_currency(code: str) -> str:
    if code not in CURRENCY_EXPONENT:
        raise ValueError("not a currency of ISO 4217 that is in use")
    return code


def _minor(pattern: str, *, digits_max: int) -> FieldInfo:
    description = f"Minor units, 1 to {digits_max} decimal digits in a string."
    return Field(pattern=pattern, description=description, examples=["12345"])


AmountMinor = Annotated[str, _minor(AMOUNT_PATTERN, digits_max=18)]
DepositMinor = Annotated[str, _minor(DEPOSIT_PATTERN, digits_max=15)]
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

AccountNumber = Annotated[
    str, Field(pattern=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}$", description="The client's IBAN.")
]
Metadata = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")],
        Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,200}$")],
    ],
    Field(max_length=16, description="The client's own notes; nobody else sees them."),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def fields(self) -> dict[str, object]:
        """The business fields that make a payload the same payload."""
        kept = {name: value for name, value in self if value is not None}
        return {n: v if isinstance(v, dict) else str(v) for n, v in kept.items()}


class Nothing(Body):
    """An empty object, or no body at all."""


class NewUser(Body):
    user_id: UUID | None = Field(default=None, strict=False)
    currency: Currency = "EUR"
    token: Token
    account_number: AccountNumber | None = None


class NewDeposit(Body):
    amount_minor: DepositMinor
    currency: Currency
    reference: Reference


class NewDividend(Body):
    dividend_event_id: Reference
    total_minor: AmountMinor
    currency: Currency


class NewInvestment(Body):
    amount_minor: AmountMinor
    currency: Currency
    instrument: Instrument
    metadata: Metadata | None = None

    def metadata_json(self) -> str | None:
        return None if self.metadata is None else json.dumps(self.metadata, sort_keys=True)


def _visible(words: str) -> str:
    """An audit trail must read as it was written: nothing invisible, nothing that turns lines."""
    if any(unicodedata.category(character) in ("Cf", "Zl", "Zp") for character in words):
        raise ValueError("holds a character that cannot be seen")
    return words


Reason = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f]*$",
        max_length=200,
        description="Why; kept in the audit trail.",
        examples=["released to everybody"],
    ),
    AfterValidator(_visible),
]


class FlagChange(Body):
    enabled: bool
    pct: Annotated[int, Field(ge=0, le=100)]
    version: Annotated[int, Field(ge=1, le=2**63 - 1)]
    reason: Reason = "by the API"

    @property
    def limited_as(self) -> Action | None:
        """Switching off is never limited."""
        return Action.SET_FLAG if self.enabled and self.pct else None


class CanaryOrder(Body):
    action: Literal["start", "stop"]
    reason: Reason = "by the API"
