"""The store's tests run on SQLite and on PostgreSQL, where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from support.left_out import left_out
from support.postgres_server import PostgresServer, find_postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL server that the session's tests share."""
    programs = find_postgres()
    if programs is None:
        left_out("PostgreSQL is not installed: install the package postgresql")
    with running_postgres(programs) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'skyrelay.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Give a store with this release's schema."""
    store = Store(database_url)
    migrate(store)
    yield store
    store.close()
