"""Open the database the way a service does: wait for its schema, lay down the configured telescopes."""

from __future__ import annotations

import threading

from sqlalchemy.exc import OperationalError

from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated
from skyrelay.store.secrets import SecretStore
from skyrelay.store.telescopes import lay_down_configured

_RETRY_S = 2.0


def open_store(settings: Settings, stop: threading.Event) -> Store | None:
    """Give the store once its schema is this release's; `None` when ``stop`` is set first.

    Raises
    ------
    ConfigurationError
        If it holds secrets that the configured key cannot read.
    """
    store = Store(settings.database)
    problem = ""
    while not stop.is_set():
        try:
            check_migrated(store)
        except (TransientError, OperationalError) as error:
            if str(error) != problem:
                problem = str(error)
                get_logger(__name__).warning("waiting for the database", problem=problem)
            stop.wait(_RETRY_S)
            continue
        _check_key(store, settings)
        telescopes = settings_in_force(settings, store, of=()).telescopes
        with store.write() as session:
            lay_down_configured(session, telescopes, utc_now())
        return store
    store.close()
    return None


def _check_key(store: Store, settings: Settings) -> None:
    try:
        SecretStore(store, settings.key_path).check_key()
    except ConfigurationError:
        store.close()
        raise
