"""Bring the database's schema to this release."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from skyrelay.errors import PermanentError, TransientError
from skyrelay.store.engine import Store

if TYPE_CHECKING:
    from alembic.config import Config

_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the migration under way in globals of the process


def migrate(store: Store, *, to: str = "head") -> None:
    """Apply the migrations that are missing; a database that has them all is left alone.

    Parameters
    ----------
    to
        The schema to stop at.

    Raises
    ------
    TransientError
        If the database does not answer.
    """
    from alembic import command  # 9 MB, in the process that migrates alone

    config = _config()
    try:
        # With the write lock from the start: of two that migrate at once, one waits and finds nothing to do.
        with (
            _ONE_AT_A_TIME,
            store.writing_engine.connect() as connection,
            _tables_may_be_made_anew(connection),
        ):
            connection.begin()  # by ourselves: Alembic would look at SQLite in one and migrate in others
            config.attributes["connection"] = connection
            command.upgrade(config, to)
            _check_references(connection)
            connection.commit()
    except OperationalError as error:
        raise TransientError(f"the database does not answer: {error.orig}") from error


@contextmanager
def _tables_may_be_made_anew(connection: Connection) -> Iterator[None]:
    """Let SQLite drop a table that others refer to: to alter a constraint it is made anew, under its name."""
    raw = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite" or raw is None:
        yield
        return
    raw.cursor().execute("PRAGMA foreign_keys = OFF")  # heeded outside of a transaction only
    try:
        yield
    finally:
        connection.rollback()  # of what was not committed: an error is on its way then
        raw.cursor().execute("PRAGMA foreign_keys = ON")


def _check_references(connection: Connection) -> None:
    """Refuse to commit a schema in which a row refers to one that is not there."""
    if connection.dialect.name == "sqlite":
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if lost:
            raise PermanentError(f"the database has {len(lost)} rows that refer to nothing: restore a backup")


def check_migrated(store: Store) -> None:
    """Raise `TransientError` unless the schema is this release's."""
    wanted = current_head()
    found = found_schema(store)
    if found != wanted:
        raise TransientError(
            f"the database has schema {found or 'none'}, this release needs {wanted}: run `skyrelay migrate`"
        )


def found_schema(store: Store) -> str | None:
    """Name the schema that the database has; `None` for an empty one, `TransientError` for none at all."""
    try:
        with store.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except OperationalError as error:
        raise TransientError(f"the database does not answer: {error.orig}") from error
    return None if found is None else str(found)


def current_head() -> str:
    """Name this release's schema: the last of the migrations, which are numbered in their order.

    Alembic could tell too, but loading it costs every service 9 MB.
    """
    names = (each.name for each in files("skyrelay.store.migrations.versions").iterdir())
    return max(name.partition("_")[0] for name in names if name[0].isdecimal())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "skyrelay.store:migrations")
    return config
