"""What every route works with, built once in `skyrelay_gateway.app` and handed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, cast

from celery import Celery
from fastapi import Depends, Request
from redis import Redis

from skyrelay.access.passwords import Hasher
from skyrelay.settings import Settings
from skyrelay.store.engine import Store


@dataclass(frozen=True, slots=True)
class Gateway:
    """The collaborators of the gateway; it holds no state of its own.

    ``clock`` gives the aware UTC time; ``started_at`` is what it gave when this was built.
    """

    settings: Settings
    store: Store
    redis: Redis
    celery: Celery
    clock: Callable[[], datetime]
    started_at: datetime
    hasher: Hasher = field(default_factory=Hasher)


async def gateway_of(request: Request) -> Gateway:
    """Give the gateway that answers ``request``."""
    return cast("Gateway", request.app.state.gateway)


GatewayDep = Annotated[Gateway, Depends(gateway_of)]
