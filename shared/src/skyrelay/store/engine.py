"""The database: SQLite in WAL mode by default, PostgreSQL by URL.

`Store.write` begins with a write lock (``BEGIN IMMEDIATE``), so that two processes wait for each
other instead of failing half way; `Store.read` never blocks a writer.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from skyrelay.errors import ConfigurationError
from skyrelay.mounts import MOUNTINFO, file_system_of, is_network_file_system

_BUSY_TIMEOUT_MS = 30_000  # longer than any of our own transactions by three orders of magnitude
_LOCKED_PAUSE_S = 0.02
_WRITES = "skyrelay_writes"
_WITHIN = "skyrelay_within"
_WRITERS_LOCK = 0x736B7972656C6179  # "skyrelay": any number that nobody else uses in this database


class Store:
    """Sessions on one database.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    mountinfo
        The kernel's table of mounts.

    Raises
    ------
    ConfigurationError
        If the URL names no database that we can use, or an SQLite file on a network file system.
    """

    def __init__(self, url: str, *, mountinfo: Path = MOUNTINFO) -> None:
        self.engine = _build_engine(url, mountinfo)
        self.writing_engine = self.engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one moment of the database."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, *, within: timedelta | None = None) -> Iterator[Session]:
        """Give a session whose changes are committed at the end, or rolled back on an exception.

        Parameters
        ----------
        within
            How long to wait for another writer; unset: as long as any of ours may take.

        Raises
        ------
        sqlalchemy.exc.OperationalError
            If another one writes for longer.
        """
        engine = self.writing_engine.execution_options(**{_WITHIN: within}) if within else self.writing_engine
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def forget_connections(self) -> None:
        """Drop the connections that a forked child shares with its parent, without closing them."""
        self.engine.dispose(close=False)


def may_be_there(url: str) -> bool:
    """Tell whether there may be a database at an SQLAlchemy URL: opening one of SQLite would make it."""
    parsed = _parse_url(url)
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()


def _build_engine(text: str, mountinfo: Path) -> Engine:
    url = _parse_url(text)
    backend = url.get_backend_name()
    if backend == "postgresql":
        # Said by us, since a cluster that was made without a locale (SQL_ASCII) gives bytes instead of text.
        engine = create_engine(url, pool_pre_ping=True, connect_args={"client_encoding": "utf8"})
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    if backend != "sqlite" or not url.database:
        raise ConfigurationError(
            f"database_url: {backend} is not supported; use sqlite:///file or postgresql://…"
        )
    _check_place(Path(url.database), mountinfo)
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parse_url(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # ValueError: its port is no number
        raise ConfigurationError(  # without the text, in which a password may stand
            "database_url is no address of a database: use sqlite:///file or postgresql://…"
        ) from None


def _check_place(file: Path, mountinfo: Path) -> None:
    kind = file_system_of(file.parent, mountinfo)
    if is_network_file_system(kind):
        raise ConfigurationError(
            f"{file} lies on a network file system ({kind}), where SQLite's locks do not hold: "
            "put data_dir on a local disk, or set database_url to a PostgreSQL server"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"data_dir: {file.parent} cannot be made ({error.strerror})") from error


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    busy = f"busy_timeout = {_BUSY_TIMEOUT_MS}"
    for pragma in (busy, "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on, once for all; SQLite's busy time-out does not cover this step."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_LOCKED_PAUSE_S)
        else:
            return


def _begin_postgresql(connection: Connection) -> None:
    """Be to both as SQLite is: writers wait for each other (they are short), readers see one moment."""
    options = connection.get_execution_options()
    if within := options.get(_WITHIN):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_ms(within)}")
    connection.exec_driver_sql(
        f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"
        if options.get(_WRITES)
        else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    )


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    begin = "BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN"
    if within := options.get(_WITHIN):
        _begin_sqlite_within(connection, begin, within)
    else:
        connection.exec_driver_sql(begin)


def _begin_sqlite_within(connection: Connection, begin: str, within: timedelta) -> None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_ms(within)}")
    try:
        connection.exec_driver_sql(begin)
    finally:  # the connection goes back to the pool, for those that wait
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")


def _ms(duration: timedelta) -> int:
    return max(1, duration // timedelta(milliseconds=1))  # 0 would be no bound to PostgreSQL
