"""The gateway over real HTTP: uvicorn in a thread, on a port of the system's choice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import requests
from argon2 import PasswordHasher
from sqlalchemy.exc import DBAPIError

from skyrelay.access.marks import mark_of, new_token
from skyrelay.access.owner import ensure_password
from skyrelay.access.passwords import Hasher
from skyrelay.access.tokens import PREFIX, Scope
from skyrelay.queue.celery_app import build_celery
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import ApiToken
from skyrelay_gateway.app import create_app
from skyrelay_gateway.service import GatewayServer, server_config
from support.waiting import eventually


class GatewayClient:
    """Speaks to a running gateway, with a token if it has one; paths are relative to its address."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self._session = requests.Session()
        self._session.trust_env = False
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    @property
    def shown(self) -> dict[str, str]:
        """The headers that say who it is, for a caller beside it."""
        shown = self._session.headers.get("Authorization")
        return {} if shown is None else {"Authorization": str(shown)}

    @property
    def actor(self) -> str:
        """What the audit log calls it."""
        return f"token {self.read('/api/v1/access')['name']}"

    def get(self, path: str, **parameters: Any) -> requests.Response:
        """GET ``path``."""
        return self._session.get(self.address + path, params=parameters, timeout=60)

    def read(self, path: str, **parameters: Any) -> Any:
        """GET ``path`` and give its JSON; fails unless the answer is a 200."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object) -> requests.Response:
        """POST ``body`` as JSON."""
        return self._session.post(self.address + path, json=body, timeout=60)

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send any other request."""
        return self._session.request(method, self.address + path, timeout=60, **options)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def quick_hasher() -> Hasher:
    """Give a hasher that costs a test nothing: a guess at what it keeps would cost nothing either."""
    return Hasher(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def make_token(
    store: Store, scope: Scope = Scope.ADMIN, clock: Callable[[], datetime] = utc_now
) -> str | None:
    """Make a token as a person has it made, without a line in the audit log; `None` before the migration."""
    token = new_token(PREFIX)
    row = ApiToken(
        name=f"test {token[-6:]}", scope=scope, token_hash=mark_of(token), is_local=False, created_at=clock()
    )
    try:
        with store.write() as session:
            session.add(row)
    except DBAPIError:
        return None
    return token


@contextmanager
def running_gateway(
    store: Store,
    redis_url: str,
    settings: Settings | None = None,
    clock: Callable[[], datetime] = utc_now,
    hasher: Hasher | None = None,
) -> Iterator[GatewayClient]:
    """Serve the gateway's application until the end of the ``with``, to a client that may do everything."""
    celery = build_celery(redis_url)
    with connect_redis(redis_url) as redis:
        hasher = hasher or quick_hasher()
        app = create_app(settings or Settings(setup="done"), store, redis, celery, clock=clock, hasher=hasher)
        configured = app.state.gateway.settings.gateway.password.get_secret_value()
        if configured:  # as the process does at its start
            ensure_password(store, quick_hasher(), configured, now=clock(), actor="configuration")
        server = GatewayServer(server_config(app, "127.0.0.1", 0))
        thread = threading.Thread(target=server.run, name="gateway")
        thread.start()
        eventually(lambda: server.started)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        client = GatewayClient(address, make_token(store, clock=clock))
        try:
            yield client
        finally:
            client.close()
            server.stop()
            thread.join(10)
            celery.close()
