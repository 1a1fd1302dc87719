"""The credentials in force: those of the settings, and where they name none, what a person entered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

from pydantic import SecretStr
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from skyrelay.errors import TransientError
from skyrelay.settings import Settings
from skyrelay.store.engine import Store, may_be_there
from skyrelay.store.secrets import SecretStore
from skyrelay.store.tables import Secret

Credentials = Literal["crowdsky", "cloud", "mqtt"]
_NONE = SecretStr("")


def settings_in_force(
    settings: Settings, store: Store | None = None, *, of: Collection[Credentials] = get_args(Credentials)
) -> Settings:
    """Give the settings with the credentials that count now, those that a person entered among them.

    The database is asked only where the settings leave a password or key out, and is never made.

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
        If the configured database cannot be read.
    ConfigurationError
        If it holds secrets that the configured key cannot read.
    """
    secrets = {
        "crowdsky": settings.crowdsky.password,
        "cloud": settings.cloud.api_key,
        "mqtt": settings.mqtt.password,
    }
    if all(secrets[name].get_secret_value() for name in of):
        return settings
    entered = _entered(settings) if store is None else SecretStore(store, settings.key_path).read()
    return with_entered_secrets(settings, entered)


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


def _entered(settings: Settings) -> Mapping[str, SecretStr]:
    """Read what is kept in the configured database."""
    if not may_be_there(settings.database):
        return {}
    store = Store(settings.database)
    try:
        is_migrated = inspect(store.engine).has_table(Secret.__tablename__)
        return SecretStore(store, settings.key_path).read() if is_migrated else {}
    except SQLAlchemyError as error:
        raise TransientError(
            "a user name and password are not configured, and the database that may hold them cannot be read "
            f"({type(error).__name__}): is it running, and database_url right?"
        ) from error
    finally:
        store.close()


def _pair(configured: tuple[str, SecretStr], entered: tuple[str, SecretStr]) -> tuple[str, SecretStr]:
    user, secret = configured
    is_whole_or_other = secret.get_secret_value() or user not in {"", entered[0]}
    return configured if is_whole_or_other or not entered[1].get_secret_value() else entered


def _text(entered: Mapping[str, SecretStr], name: str) -> str:
    return entered.get(name, _NONE).get_secret_value()
