"""Answers, as the OpenAPI document promises them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

Minor = Annotated[
    str, Field(pattern=r"^[0-9]{1,18}$", description="Minor units in a string.", examples=["12345"])
]


class Problem(BaseModel):
    """What went wrong (RFC 9457), and whether to send the request again with the same key."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool


class NewWallet(BaseModel):
    currency: str
    balance_minor: Minor


class CreatedUser(BaseModel):
    user_id: UUID
    wallet: NewWallet


class Wallet(BaseModel):
    user_id: UUID
    currency: str
    balance_minor: Minor
    closed_at: datetime | None


class Accepted(BaseModel):
    """The work is done later: the job's address tells how far it is."""

    job_id: UUID
    status_url: str


class Investment(BaseModel):
    investment_id: UUID
    user_id: UUID
    amount_minor: Minor
    currency: str
    instrument: str
    state: Literal[
        "PENDING", "QUEUED", "EXECUTING", "EXECUTED", "FAILED", "CANCELLED", "REVIEW"
    ]  # fmt: skip
    job_id: UUID | None = None
    executed_minor: Minor | None = None
    metadata: dict[str, str] | None = None


class Job(BaseModel):
    job_id: UUID
    kind: Literal["deposit", "execution", "dividend"]
    state: Literal["PENDING", "RUNNING", "WAITING", "SUCCEEDED", "FAILED", "REVIEW"]
    attempts: int
    subject_id: UUID
    reason: str | None
    next_run_at: datetime | None


class Dividend(BaseModel):
    batch_id: UUID
    instrument: str
    dividend_event_id: str
    total_minor: Minor
    currency: str
    state: Literal["DECLARED", "ALLOCATED", "PAYING", "COMPLETED"]
    payouts: dict[str, int]
