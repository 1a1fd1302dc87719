"""The settings in force: the configuration, and where it leaves gaps, what a person entered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args

from pydantic import SecretStr
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from skyrelay.errors import TransientError
from skyrelay.logs import get_logger
from skyrelay.settings import Settings
from skyrelay.settings_page import with_page_values
from skyrelay.store.engine import Store, may_be_there
from skyrelay.store.page_settings import page_values
from skyrelay.store.secrets import SecretStore
from skyrelay.store.tables import Secret, SettingChange

Credentials = Literal["crowdsky", "cloud", "mqtt"]
LOOK_EVERY_S = 5.0  # how soon a change on the page is noticed by those who have no unit of work of their own
_Entered = tuple[Mapping[str, Any], Mapping[str, SecretStr]]
_NONE = SecretStr("")

_log = get_logger(__name__)


def settings_in_force(
    settings: Settings, store: Store | None = None, *, of: Collection[Credentials] = get_args(Credentials)
) -> Settings:
    """Give the settings that count now: what a person entered on the page or kept as a secret fills the gaps.

    The database is never made. Services ask once for each unit of work.

    Parameters
    ----------
    settings
        The configuration, which wins.
    store
        The database, where it is open already; `None` looks into the configured one, which need neither
        be there nor be migrated.
    of
        The credentials that are wanted.

    Raises
    ------
    TransientError
        If the configured database cannot be read, and credentials are wanted that may be in it.
    ConfigurationError
        If it holds secrets that the configured key cannot read.
    """
    secrets = {
        "crowdsky": settings.crowdsky.password,
        "cloud": settings.cloud.api_key,
        "mqtt": settings.mqtt.password,
    }
    is_whole = all(secrets[name].get_secret_value() for name in of)
    try:
        page, entered = _entered(settings, store, with_secrets=not is_whole)
    except TransientError as error:
        if not is_whole:
            raise
        _log.warning("only the configuration counts", problem=str(error))
        return settings
    found = with_page_values(settings, page)
    return with_entered_secrets(found, entered) if entered else found


def settings_on_page(settings: Settings) -> Settings:
    """Give the settings with those of the page, without secrets, for a service that has no database open.

    Raises
    ------
    TransientError
        If the database cannot be read now.
    """
    page, _ = _entered(settings, None, with_secrets=False)
    return with_page_values(settings, page)


def wait_for_other_settings(
    settings: Settings, now: Settings, stop: threading.Event, *, part: Callable[[Settings], object]
) -> Settings:
    """Wait until other settings count than ``now``, and give them; or ``now``, when ``stop`` is set first.

    Parameters
    ----------
    settings
        Those of file and environment.
    now
        Those that counted when this was asked last.
    stop
        Ends the waiting.
    part
        Gives what the caller lives by: a change of anything else is none to it.
    """
    while not stop.wait(LOOK_EVERY_S):
        try:
            found = settings_on_page(settings)
        except TransientError:  # what counted goes on counting
            continue
        if part(found) != part(now):
            return found
    return now


def with_entered_secrets(settings: Settings, entered: Mapping[str, SecretStr]) -> Settings:
    """Fill the gaps of the configured credentials; the parts of two accounts are never mixed.

    Parameters
    ----------
    settings
        The configuration, which wins.
    entered
        What `skyrelay.store.secrets.SecretStore.read` gives.
    """
    crowdsky = _pair(
        (settings.crowdsky.username, settings.crowdsky.password),
        (_text(entered, "crowdsky.username"), entered.get("crowdsky.password", _NONE)),
    )
    cloud = _pair(
        (settings.cloud.node_id, settings.cloud.api_key),
        (_text(entered, "cloud.node_id"), entered.get("cloud.api_key", _NONE)),
    )
    mqtt = _pair(
        (settings.mqtt.username, settings.mqtt.password),
        (_text(entered, "mqtt.username"), entered.get("mqtt.password", _NONE)),
    )
    changes: dict[str, Any] = {
        "crowdsky": settings.crowdsky.model_copy(update={"username": crowdsky[0], "password": crowdsky[1]}),
        "cloud": settings.cloud.model_copy(update={"node_id": cloud[0], "api_key": cloud[1]}),
        "mqtt": settings.mqtt.model_copy(update={"username": mqtt[0], "password": mqtt[1]}),
    }
    return settings.model_copy(update=changes)


def _entered(settings: Settings, store: Store | None, *, with_secrets: bool) -> _Entered:
    """Give what the page has changed, and what is kept as a secret."""
    if store is not None:
        return _read(store, settings, with_secrets=with_secrets)
    if not may_be_there(settings.database):
        return {}, {}
    store = Store(settings.database)
    try:
        return _read(
            store, settings, with_secrets=with_secrets, tables=inspect(store.engine).get_table_names()
        )
    except SQLAlchemyError as error:
        raise TransientError(
            "the database that may hold settings, a user name and a password cannot be read "
            f"({type(error).__name__}): is it running, and database_url right?"
        ) from error
    finally:
        store.close()


def _read(
    store: Store, settings: Settings, *, with_secrets: bool, tables: Collection[str] | None = None
) -> _Entered:
    page: Mapping[str, Any] = {}
    if tables is None or SettingChange.__tablename__ in tables:
        with store.read() as session:
            page = page_values(session)
    if with_secrets and (tables is None or Secret.__tablename__ in tables):
        return page, SecretStore(store, settings.key_path).read()
    return page, {}


def _pair(configured: tuple[str, SecretStr], entered: tuple[str, SecretStr]) -> tuple[str, SecretStr]:
    user, secret = configured
    is_whole_or_other = secret.get_secret_value() or user not in {"", entered[0]}
    return configured if is_whole_or_other or not entered[1].get_secret_value() else entered


def _text(entered: Mapping[str, SecretStr], name: str) -> str:
    return entered.get(name, _NONE).get_secret_value()
