"""Dividends: declared by an administrator, paid by a worker."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, text

from .. import dividends
from ..auth import Principal
from ..errors import Problem
from ..idempotency import Answer
from ..limits import Action
from ..money import parse_amount_minor
from ..paths import PREFIX
from .answers import Accepted, Dividend
from .context import read, write
from .models import NewDividend

router = APIRouter(prefix=PREFIX)

_FIND_BATCH = text("""
SELECT id AS batch_id, instrument, dividend_event_id, CAST(total_minor AS text) AS total_minor,
    currency, state
FROM dividend_batches WHERE id = :id""")
_COUNT_PAYOUTS = text("""
SELECT state, count(*) AS payouts FROM dividend_payouts WHERE batch_id = :id
GROUP BY state ORDER BY state""")


@router.post(
    "/investments/{investment_id}/dividends",
    status_code=202,
    response_model=Accepted,
    tags=["admin"],
)
def distribute_dividends(request: Request, investment_id: UUID, body: NewDividend) -> Response:
    """Accept a dividend of the investment's instrument; a worker pays every holder's share."""

    def work(connection: Connection, principal: Principal) -> Answer:
        principal.require_admin()
        return dividends.declare(
            connection,
            principal,
            investment_id,
            dividend_event_id=body.dividend_event_id,
            total_minor=parse_amount_minor(body.total_minor),
            currency=body.currency,
        )

    return write(request, body.fields(), work, action=Action.DISTRIBUTE_DIVIDENDS)


@router.get("/dividends/{batch_id}", response_model=Dividend, tags=["admin"])
def get_dividend(request: Request, batch_id: UUID) -> dict[str, object]:
    """The dividend's state, and how many payouts are in which; a job names it as its subject."""

    def query(connection: Connection, principal: Principal) -> dict[str, object]:
        principal.require_admin()
        row = connection.execute(_FIND_BATCH, {"id": batch_id}).one_or_none()
        if row is None:
            raise Problem("not-found", "There is no such dividend.")
        counts = connection.execute(_COUNT_PAYOUTS, {"id": batch_id})
        return row._asdict() | {"payouts": {row.state: row.payouts for row in counts}}

    return read(request, query)
