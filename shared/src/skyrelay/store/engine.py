"""The database: SQLite in WAL mode by default, PostgreSQL by URL.

`Store.write` begins with a write lock (``BEGIN IMMEDIATE``), so that two processes wait for each
other instead of failing half way; `Store.read` never blocks a writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

from skyrelay.errors import ConfigurationError
from skyrelay.mounts import file_system_of, is_network_file_system

_BUSY_TIMEOUT_MS = 30_000  # longer than any of our own transactions by three orders of magnitude
_WRITES = "skyrelay_writes"


class Store:
    """Sessions on one database.

    Parameters
    ----------
    url
        SQLAlchemy URL.

    Raises
    ------
    ConfigurationError
        If the URL names no database that we can use, or an SQLite file on a network file system.
    """

    def __init__(self, url: str) -> None:
        self.engine = _build_engine(url)
        self._writing_engine = self.engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one moment of the database."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are committed at the end, or rolled back on an exception."""
        with Session(self._writing_engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def forget_connections(self) -> None:
        """Drop the connections that a forked child shares with its parent, without closing them."""
        self.engine.dispose(close=False)


def _build_engine(text: str) -> Engine:
    url = make_url(text)
    backend = url.get_backend_name()
    if backend == "postgresql":
        return create_engine(url, pool_pre_ping=True)
    if backend != "sqlite" or not url.database:
        raise ConfigurationError(
            f"database_url: {backend} is not supported; use sqlite:///file or postgresql://…"
        )
    _check_place(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_place(file: Path) -> None:
    kind = file_system_of(file.parent)
    if is_network_file_system(kind):
        raise ConfigurationError(
            f"{file} lies on a network file system ({kind}), where SQLite's locks do not hold: "
            "put data_dir on a local disk, or set database_url to a PostgreSQL server"
        )
    file.parent.mkdir(parents=True, exist_ok=True)


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    busy = f"busy_timeout = {_BUSY_TIMEOUT_MS}"
    for pragma in (busy, "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
