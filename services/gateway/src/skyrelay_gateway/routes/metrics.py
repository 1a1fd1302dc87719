"""Figures for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from skyrelay_gateway.context import GatewayDep
from skyrelay_gateway.live_feed import LiveFeed
from skyrelay_gateway.metrics import expose
from skyrelay_gateway.routes.events import feed_of
from skyrelay_gateway.visits import METRICS

router = APIRouter(tags=["health"], dependencies=[METRICS])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(gateway: GatewayDep, feed: Annotated[LiveFeed, Depends(feed_of)]) -> Response:
    """Give all figures as Prometheus reads them (docs/monitoring)."""
    return Response(expose(gateway, feed.viewers), media_type=CONTENT_TYPE_LATEST)
