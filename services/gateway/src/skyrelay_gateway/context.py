"""What every route works with, built once in `skyrelay_gateway.app` and handed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, cast

from celery import Celery
from fastapi import Depends, Request
from redis import Redis
from sqlalchemy.exc import DBAPIError

from skyrelay.access.passwords import Hasher
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
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

    def in_force(self, configured: Settings) -> Gateway:
        """Give the same with the settings that count now; of a database that is away, others will tell."""
        try:
            settings = settings_in_force(configured, self.store, of=())
        except DBAPIError:
            settings = configured
        return replace(self, settings=settings)


async def configured_of(request: Request) -> Settings:
    """Give the settings of file and environment, which the page cannot change."""
    return cast("Gateway", request.app.state.gateway).settings


def gateway_of(request: Request) -> Gateway:
    """Give the gateway that answers ``request``, with the settings that count now."""
    gateway = cast("Gateway", request.app.state.gateway)
    return gateway.in_force(gateway.settings)


GatewayDep = Annotated[Gateway, Depends(gateway_of)]
ConfiguredDep = Annotated[Settings, Depends(configured_of)]
