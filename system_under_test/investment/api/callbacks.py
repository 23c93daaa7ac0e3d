"""What the partner tells by itself: a hint to look, never evidence."""

import hmac
import time
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from sqlalchemy import text

from .. import db, logs, partners
from ..errors import Problem, retry_later
from ..paths import PREFIX
from ..vault import vault_of
from .context import services_of
from .models import Body

router = APIRouter(prefix=PREFIX)

SIGNATURE_HEADER = "X-Partner-Signature"
_TOLERANCE_S = 300

# The reconciliation asks about the order in its next pass: nothing was ever checked so long ago.
_RECORD = text("""
WITH recorded AS (
    INSERT INTO partner_events (event_id, client_order_id, kind)
    VALUES (:event_id, :client_order_id, :kind)
    ON CONFLICT (event_id) DO NOTHING RETURNING client_order_id
)
UPDATE partner_orders AS o SET checked_at = '-infinity' FROM recorded AS r
WHERE o.client_order_id = r.client_order_id AND o.status IN ('INTENT', 'SENT', 'UNKNOWN')
RETURNING o.investment_id""")


class PartnerEvent(Body):
    event_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
    kind: Literal["order.executed", "order.rejected"]
    client_order_id: Annotated[UUID, Field(strict=False)]


def is_signed(signature: str, content: bytes, *, secret: str, now_s: float) -> bool:
    """Whether the header `t=<unix seconds>,v1=<hex HMAC-SHA-256 of "t.content">` is right."""
    at, _, given = signature.removeprefix("t=").partition(",v1=")
    if not (at.isascii() and at.isdigit() and len(at) <= 12):
        return False
    expected = hmac.digest(secret.encode(), f"{at}.".encode() + content, "sha256").hex()
    fresh = abs(now_s - int(at)) <= _TOLERANCE_S
    return hmac.compare_digest(expected.encode(), given.encode()) and fresh


async def _content(request: Request) -> bytes:
    return await request.body()


_BODY = {
    "required": True,
    "content": {"application/json": {"schema": PartnerEvent.model_json_schema()}},
}


@router.post(
    "/partner-events", status_code=202, tags=["partner"], openapi_extra={"requestBody": _BODY}
)
def receive_partner_event(
    request: Request, content: Annotated[bytes, Depends(_content)]
) -> dict[str, str]:
    """Take note of a partner's event about an order, and have the order looked at soon.

    The partner proves itself by the header X-Partner-Signature instead of a bearer token, and the
    event_id is the natural key, instead of an Idempotency-Key: a repetition has no effect. Events
    may come late and in any order, for the order's state is what the partner answers when asked.
    """
    services = services_of(request)
    vault = vault_of(services.settings)
    auth = db.run_read(services.engine, lambda c: partners.load(c, vault))
    signature = request.headers.get(SIGNATURE_HEADER, "")
    if not is_signed(signature, content, secret=auth.callback_secret, now_s=time.time()):
        raise Problem("unauthenticated", f"The header {SIGNATURE_HEADER} is missing or wrong.")
    try:
        event = PartnerEvent.model_validate_json(content)
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False)
        located = [item | {"loc": ("body", *item["loc"])} for item in found]
        raise RequestValidationError(located) from None
    try:
        due = db.run_transaction(services.engine, lambda c: c.scalar(_RECORD, event.model_dump()))
    except db.CommitOutcomeUnknown:
        raise retry_later("outcome-unknown", "Send the event again.") from None
    logs.info("partner_event", kind=event.kind, event_id=event.event_id, order_due=due is not None)
    return {"event_id": event.event_id}
