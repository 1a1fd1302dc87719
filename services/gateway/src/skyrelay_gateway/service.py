"""The gateway's process: one uvicorn, which starts at once and says on /readyz what it waits for."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from skyrelay.logs import get_logger
from skyrelay.queue.celery_app import build_celery
from skyrelay.queue.connection import connect_redis
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay_gateway.app import create_app

_LONGEST_GOODBYE_S = 2  # for answers under way when told to stop; the whole stop takes less than 3 s
_LONGEST_REDIS_ANSWER_S = 2.0  # a page that waits for longer looks broken; "no answer" is an answer


def main(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT."""
    stop = stop_on_signals()  # uvicorn hands the signal back to this handler when it has stopped
    store = Store(settings.database)
    with connect_redis(settings.redis, answer_within_s=_LONGEST_REDIS_ANSWER_S) as redis:
        app = create_app(settings, store, redis, build_celery(settings.redis))
        server = GatewayServer(server_config(app, settings.gateway.host, settings.gateway.port))
        get_logger(__name__).info(
            "the gateway listens", host=settings.gateway.host, port=settings.gateway.port
        )
        server.run()
    store.close()
    return 0 if server.started or stop.is_set() else 1


class GatewayServer(uvicorn.Server):
    """A server that ends its streams of events when it is told to stop: they would go on for ever."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self.config.app.state.live_feed.close()  # type: ignore[union-attr] # `server_config` takes no other app
        await super().shutdown(sockets)


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """Say how the application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # ours is set up already
        access_log=False,  # a page that refreshes itself would drown the rest; control calls are logged
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_LONGEST_GOODBYE_S,
    )
