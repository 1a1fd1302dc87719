"""Whether the process lives, and whether everything is ready."""

from __future__ import annotations

from fastapi import APIRouter, Response

from skyrelay.version import __version__
from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.models import HealthView, ReadyView
from skyrelay_gateway.readiness import check_readiness
from skyrelay_gateway.visits import PUBLIC

router = APIRouter(tags=["health"], dependencies=[PUBLIC])


@router.get("/healthz")
async def healthz() -> HealthView:
    """Say that the process lives; asks nobody else."""
    return HealthView(version=__version__)


@router.get("/readyz", responses={503: {"model": ReadyView, "description": "Something is not ready"}})
def readyz(gateway: GatewayDep, response: Response) -> ReadyView:
    """Say whether the database, Redis and each service are ready, and what to do about those that are not."""
    parts = check_readiness(gateway)
    ready = all(part.ready for part in parts)
    if not ready:
        response.status_code = 503
    return ReadyView(ready=ready, parts=parts)
