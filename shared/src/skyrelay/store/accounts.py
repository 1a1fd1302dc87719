"""The credentials in force: those of the settings, and where they name none, what a person entered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from skyrelay.settings import Settings

_NONE = SecretStr("")


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
    changes: dict[str, Any] = {
        "crowdsky": settings.crowdsky.model_copy(update={"username": crowdsky[0], "password": crowdsky[1]}),
        "cloud": settings.cloud.model_copy(update={"node_id": cloud[0], "api_key": cloud[1]}),
    }
    return settings.model_copy(update=changes)


def _pair(configured: tuple[str, SecretStr], entered: tuple[str, SecretStr]) -> tuple[str, SecretStr]:
    user, secret = configured
    is_whole_or_other = secret.get_secret_value() or user not in {"", entered[0]}
    return configured if is_whole_or_other or not entered[1].get_secret_value() else entered


def _text(entered: Mapping[str, SecretStr], name: str) -> str:
    return entered.get(name, _NONE).get_secret_value()
