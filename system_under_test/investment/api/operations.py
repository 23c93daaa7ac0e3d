"""Pages for operators: is the process alive, can it work, what does it see.

They answer when the service cannot: a page that asks PostgreSQL does so on a connection and a
thread of its own, so that requests which hang do not make it hang, and it gives up soon.
"""

from functools import partial

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from ..guards import is_migrated
from ..migrations import HEAD
from .context import Services, services_of

router = APIRouter(tags=["operations"])

_threads = CapacityLimiter(4)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers; whether it can work is another question."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """The database is reachable and migrated, and its guards are in force; Redis is reported but
    not needed."""
    return await to_thread.run_sync(partial(_readiness, services_of(request)), limiter=_threads)


def _readiness(services: Services) -> Response:
    try:
        revision, lacking = services.watch.look()
        reachable = True
    except SQLAlchemyError:
        # An unmigrated database answers too, but it has no revision table.
        revision, lacking, reachable = None, [], False
    ready = is_migrated(revision) and not lacking
    document = {
        "status": "ready" if ready else "not ready",
        "database": {
            "usable": reachable,
            "revision": revision,
            "expected_revision": HEAD,
            "guards_lacking": len(lacking),
        },
        "redis": {"reachable": services.cache.ping()},
    }
    return JSONResponse(document, 200 if ready else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    exposition = services_of(request).metrics.exposition
    content = await to_thread.run_sync(exposition, limiter=_threads)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
