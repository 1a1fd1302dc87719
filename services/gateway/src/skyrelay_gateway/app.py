"""The application: everything is wired here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery
from fastapi import FastAPI
from redis import Redis
from starlette.staticfiles import StaticFiles

from skyrelay.access.passwords import Hasher
from skyrelay.access.tokens import Scope
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.version import __version__
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.forwarded import Forwarded
from skyrelay_gateway.guard import Guard
from skyrelay_gateway.list_tags import ListTags
from skyrelay_gateway.live_feed import LiveFeed
from skyrelay_gateway.own_site import OwnSite
from skyrelay_gateway.problems import ProblemDetails, install_problem_handlers
from skyrelay_gateway.refusal_pages import RefusalPages, on_fault
from skyrelay_gateway.routes import (
    access,
    access_page,
    archive_page,
    control,
    flower,
    health,
    lists,
    login,
    metrics,
    network,
    page,
    pictures,
    purge,
    reference,
    rest,
    settings_page,
    setup,
)
from skyrelay_gateway.routes import (
    settings as setting_routes,
)
from skyrelay_gateway.security import BodyLimit, HeaderLimit, SecurityHeaders
from skyrelay_gateway.sky_map import SkyMemory
from skyrelay_gateway.visits import requires

_DESCRIPTION = (
    "Status and control of Skyrelay. Times are UTC unless their name ends in `_local`. Lists are read in "
    "parts: pass `next_cursor` as `cursor`. Errors are `application/problem+json` and say what to do. "
    "Calls that change something take `application/json` only."
)
_STATIC = Path(__file__).parent / "static"


def create_app(
    settings: Settings,
    store: Store,
    redis: Redis,
    celery: Celery,
    *,
    clock: Callable[[], datetime] = utc_now,
    hasher: Hasher | None = None,
) -> FastAPI:
    """Build the gateway's application.

    Parameters
    ----------
    settings
        The configuration.
    store
        The database; it need not be there or migrated yet.
    redis
        A client that decodes its answers; it need not be there yet.
    celery
        The application through which workers are nudged.
    clock
        Gives the aware UTC time.
    hasher
        Verifies passwords; one with argon2's defaults when not given.
    """
    app = FastAPI(
        title="Skyrelay",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,  # ours asks who wants it
        docs_url=None,  # it loads its scripts from another host; ours is /docs all the same
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # The framework would send traces to wherever the environment says: nothing leaves this house.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    gateway = Gateway(settings, store, redis, celery, clock, clock(), hasher or Hasher())
    app.state.gateway = gateway
    install_problem_handlers(app)
    app.add_exception_handler(Exception, on_fault)
    app.add_middleware(Guard, gateway=gateway)
    app.add_middleware(BodyLimit)
    app.add_middleware(HeaderLimit)
    app.add_middleware(OwnSite, hosts=(settings.gateway.host, *settings.gateway.hosts))
    app.add_middleware(RefusalPages)
    app.add_middleware(SecurityHeaders)
    proxies, root_path = settings.gateway.trusted_proxies, settings.gateway.root_path
    app.add_middleware(Forwarded, trusted=proxies, root_path=root_path)
    app.state.sky_memory = SkyMemory()
    app.state.live_feed = LiveFeed(store, redis)
    app.state.list_tags = ListTags(store)
    for routes in (
        health,
        metrics,
        login,
        access,
        lists,
        control,
        network,
        purge,
        setting_routes,
        setup,
        settings_page,
        access_page,
        page,
        archive_page,
        pictures,
        reference,
        flower,
    ):
        app.include_router(routes.router)
    for routes in rest.READING:
        app.include_router(routes.router, dependencies=[requires(Scope.READ)])
    for routes in rest.CONTROLLING:
        app.include_router(routes.router, dependencies=[requires(Scope.CONTROL)])
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    _name_problems(app)
    return app


def _name_problems(app: FastAPI) -> None:
    """Put the schema that all problem answers refer to into the OpenAPI document."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        template = "#/components/schemas/{model}"
        schema = ProblemDetails.model_json_schema(ref_template=template)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(schema.pop("$defs", {}))
        schemas["ProblemDetails"] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign] # how FastAPI's documentation extends the document
