"""The gateway's process: one uvicorn, which starts at once and says on /readyz what it waits for."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from skyrelay.logs import get_logger
from skyrelay.queue.celery_app import build_celery
from skyrelay.queue.connection import connect_redis
from skyrelay.service import stop_on_signals
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay_gateway.app import create_app
from skyrelay_gateway.bounded_protocol import Limits, bounded_protocol
from skyrelay_gateway.context import Gateway
from skyrelay_gateway.lean import confine_memory, confine_threads
from skyrelay_gateway.opening import open_when_ready

_LONGEST_GOODBYE_S = 2  # for answers under way when told to stop; the whole stop takes less than 3 s
_LOOK_EVERY_S = 1.0
_MOST_CONNECTIONS = 512  # of all addresses; a home has a few dozen, a process about a thousand file handles
_LONGEST_REDIS_ANSWER_S = 2.0  # a page that waits for longer looks broken; "no answer" is an answer


def main(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT."""
    stop = stop_on_signals()  # uvicorn hands the signal back to this handler when it has stopped
    store = Store(settings.database)
    confine_memory(store)
    with connect_redis(settings.redis, answer_within_s=_LONGEST_REDIS_ANSWER_S) as redis:
        app = create_app(settings, store, redis, build_celery(settings.redis))
        limits = Limits(proxies=settings.gateway.trusted_proxies)
        config = server_config(app, settings.gateway.host, settings.gateway.port, limits)
        server = GatewayServer(config)
        get_logger(__name__).info(
            "the gateway listens", host=settings.gateway.host, port=settings.gateway.port
        )
        with _opening(app.state.gateway):
            server.run()
    store.close()
    return 0 if server.started or stop.is_set() else 1


@contextmanager
def _opening(gateway: Gateway) -> Iterator[None]:
    """Make access ready meanwhile: the server answers at once, the database perhaps later."""
    closing = threading.Event()
    opening = threading.Thread(target=open_when_ready, args=(gateway, closing), name="opening")
    opening.start()
    try:
        yield
    finally:
        closing.set()
        opening.join()


class GatewayServer(uvicorn.Server):
    """A server that ends its streams of events when it is told to stop: they would go on for ever."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._tell_to_stop: Callable[[], object] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, with few threads."""
        confine_threads()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        """Look after the server each second, and not ten times as uvicorn does: an idle one costs a third."""
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        self._tell_to_stop = lambda: loop.call_soon_threadsafe(told.set)
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), _LOOK_EVERY_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once when a signal says so."""
        super().handle_exit(sig, frame)
        self._tell_to_stop()

    def stop(self) -> None:
        """Stop at once, whatever thread says so."""
        self.should_exit = True
        self._tell_to_stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        state = self.config.app.state  # type: ignore[union-attr] # `server_config` takes no other app
        state.live_feed.close()
        await super().shutdown(sockets)
        await state.live_feed.ended()
        state.list_tags.close()


def server_config(app: FastAPI, host: str, port: int, limits: Limits | None = None) -> uvicorn.Config:
    """Say how the application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=bounded_protocol(limits or Limits()),
        limit_concurrency=_MOST_CONNECTIONS,
        log_config=None,  # ours is set up already
        access_log=False,  # a page that refreshes itself would drown the rest; control calls are logged
        server_header=False,
        proxy_headers=False,  # ours are believed of the configured proxies alone
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_LONGEST_GOODBYE_S,
    )
