"""Investments and the jobs that execute them."""

import json
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection, text

from .. import investments
from ..auth import Principal
from ..idempotency import Answer
from ..limits import Action
from ..money import parse_amount_minor
from ..paths import PREFIX
from ..vault import METADATA, Place
from .answers import Accepted, Investment, Job
from .context import find_own, key_of, services_of, write
from .models import NewInvestment, Nothing

router = APIRouter(prefix=PREFIX)

_FIND_INVESTMENT = text("""
SELECT i.id AS investment_id, i.user_id, CAST(i.amount_minor AS text) AS amount_minor, i.currency,
    i.instrument, i.state, CAST(i.executed_minor AS text) AS executed_minor, j.id AS job_id,
    i.metadata_token, v.sealed AS metadata_sealed
FROM investments i
LEFT JOIN token_vault v ON v.token = i.metadata_token AND i.user_id = :caller_id
LEFT JOIN jobs j ON j.kind = 'execution' AND j.subject_id = CAST(i.id AS text)
WHERE i.id = :id AND (:is_admin OR i.user_id = :caller_id)""")
_FIND_JOB = text("""
SELECT id AS job_id, kind, state, attempts, subject_id, reason, next_run_at FROM jobs
WHERE id = :id AND (:is_admin OR user_id = :caller_id)""")


@router.post("/investments", status_code=201, response_model=Investment, tags=["investments"])
def create_investment(request: Request, body: NewInvestment) -> Response:
    """Create an investment for the caller; no money moves yet."""

    def work(connection: Connection, principal: Principal) -> Answer:
        return investments.create(
            connection,
            principal,
            amount_minor=parse_amount_minor(body.amount_minor),
            currency=body.currency,
            instrument=body.instrument,
            metadata=body.metadata_json(),
            key=key_of(request),
            vault=services_of(request).vault,
        )

    return write(request, body.fields(), work, action=Action.CREATE_INVESTMENT)


@router.get("/investments/{investment_id}", response_model=Investment, tags=["investments"])
def get_investment(request: Request, investment_id: UUID) -> dict[str, object]:
    """The investment and its state; its metadata are shown to the owner alone."""
    row = find_own(request, _FIND_INVESTMENT, investment_id, what="investment")
    metadata = None
    if row.metadata_sealed is not None:
        place = Place(METADATA, row.metadata_token, str(row.investment_id))
        metadata = json.loads(services_of(request).vault.open(row.metadata_sealed, place))
    return row._asdict() | {"metadata": metadata}


@router.post(
    "/investments/{investment_id}/execute",
    status_code=202,
    response_model=Accepted,
    tags=["investments"],
)
def execute_investment(
    request: Request, investment_id: UUID, _body: Nothing | None = None
) -> Response:
    """Accept the execution: the money is held, a worker places the order."""

    def work(connection: Connection, principal: Principal) -> Answer:
        return investments.accept(connection, principal, investment_id)

    return write(request, {}, work, action=Action.EXECUTE_INVESTMENT)


@router.post("/investments/{investment_id}/cancel", response_model=Investment, tags=["investments"])
def cancel_investment(
    request: Request, investment_id: UUID, _body: Nothing | None = None
) -> Response:
    """Cancel an investment that no partner can have seen."""

    def work(connection: Connection, principal: Principal) -> Answer:
        return investments.cancel(connection, principal, investment_id)

    return write(request, {}, work, action=Action.CANCEL_INVESTMENT)


@router.get("/jobs/{job_id}", response_model=Job, tags=["jobs"])
def get_job(request: Request, job_id: UUID) -> dict[str, object]:
    """The job's state, from its row in the database."""
    return find_own(request, _FIND_JOB, job_id, what="job")._asdict()
