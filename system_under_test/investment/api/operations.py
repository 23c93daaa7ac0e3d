"""Pages for operators: is the process alive, can it work."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from .. import db
from ..migrations import HEAD
from .context import services_of

router = APIRouter(tags=["operations"])

_REVISION = text("SELECT version_num FROM alembic_version")


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
def readyz(request: Request) -> Response:
    """The database is reachable and migrated; Redis is reported but not needed."""
    services = services_of(request)
    try:
        revision = db.run_read(services.engine, lambda c: c.execute(_REVISION).scalar())
        reachable = True
    except SQLAlchemyError:
        # An unmigrated database answers too, but it has no revision table.
        revision, reachable = None, False
    ready = revision == HEAD
    document = {
        "status": "ready" if ready else "not ready",
        "database": {"usable": reachable, "revision": revision, "expected_revision": HEAD},
        "redis": {"reachable": services.cache.ping()},
    }
    return JSONResponse(document, 200 if ready else 503)
