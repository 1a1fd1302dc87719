"""What is made ready before anybody can come."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, event

from skyrelay.access.local_token import read_local_token
from skyrelay.access.tokens import find_token
from skyrelay.queue.celery_app import build_celery
from skyrelay.queue.connection import connect_redis
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay_gateway.app import create_app
from skyrelay_gateway.opening import make_access_ready
from support.gateway import quick_hasher
from support.redis_server import RedisServer


def test_the_token_of_this_machine_is_known_before_anybody_can_read_it(
    store: Store, redis_server: RedisServer, tmp_path: Path
) -> None:
    readable_at_commit = []

    def look(_connection: Connection) -> None:
        readable_at_commit.append(read_local_token(tmp_path))

    with connect_redis(redis_server.url) as redis, build_celery(redis_server.url) as celery:
        app = create_app(
            Settings(setup="done", data_dir=tmp_path), store, redis, celery, hasher=quick_hasher()
        )
        event.listen(store.engine, "commit", look)
        make_access_ready(app.state.gateway)
    token = read_local_token(tmp_path)
    assert readable_at_commit[0] is None
    with store.read() as session:
        assert find_token(session, token or "") is not None
