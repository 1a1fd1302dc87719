"""Bring the database's schema to this release."""

from __future__ import annotations

import threading

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from skyrelay.errors import TransientError
from skyrelay.store.engine import Store

_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the migration under way in globals of the process


def migrate(store: Store) -> None:
    """Apply the migrations that are missing; a database that has them all is left alone.

    Raises
    ------
    TransientError
        If the database does not answer.
    """
    config = _config()
    try:
        # With the write lock from the start: of two that migrate at once, one waits and finds nothing to do.
        with _ONE_AT_A_TIME, store.writing_engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except OperationalError as error:
        raise TransientError(f"the database does not answer: {error.orig}") from error


def check_migrated(store: Store) -> None:
    """Raise `TransientError` unless the schema is this release's."""
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    with store.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != wanted:
        raise TransientError(
            f"the database has schema {found or 'none'}, this release needs {wanted}: run `skyrelay migrate`"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "skyrelay.store:migrations")
    return config
