"""The settings as the API and the pages show them: never a secret, of a home's place a tenth of a degree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import time
from enum import Enum
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, JsonValue, SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.settings import Settings, setting_fields
from skyrelay.settings_page import PRIVATE, is_secret, why_not_writable
from skyrelay.store.page_settings import settings_version
from skyrelay.store.tables import Secret, SettingChange
from skyrelay_gateway.models import View

_ROUNDED = frozenset({"observatory.latitude", "observatory.longitude"})


class SettingView(View):
    """One setting: what counts now, and where that comes from.

    ``value`` is null for a secret, and a tenth of a degree for the place of the home; ``is_set`` says whether
    there is one. ``why_not`` says why the page cannot change it, where ``writable`` is false.
    """

    key: str
    value: JsonValue
    default: JsonValue
    is_set: bool
    source: Literal["default", "file", "environment", "page"]
    writable: bool
    why_not: str | None
    secret: bool


class SettingsView(View):
    """All settings; ``version`` grows with each change on the page."""

    version: int
    settings: tuple[SettingView, ...]


class SettingChangeView(View):
    """One change on the page; ``value`` is null where it was unset, is a secret, or is the home's height."""

    version: int
    key: str
    value: JsonValue
    changed_at: AwareDatetime
    changed_by: str


def settings_view(session: Session, configured: Settings, in_force: Settings) -> SettingsView:
    """Give all settings.

    Parameters
    ----------
    configured
        Those of file and environment.
    in_force
        Those that count.
    """
    kept = frozenset(session.scalars(select(Secret.name)))
    views = tuple(_view(key, configured, in_force, kept) for key in setting_fields())
    return SettingsView(version=settings_version(session), settings=views)


def change_view(row: SettingChange) -> SettingChangeView:
    """Give one change."""
    value = None if is_hidden(row.key) else shown(row.key, row.value)
    return SettingChangeView(
        version=row.id, key=row.key, value=value, changed_at=row.changed_at, changed_by=row.changed_by
    )


def is_hidden(key: str) -> bool:
    """Tell whether a setting's value is never shown, known or not."""
    return key not in setting_fields() or is_secret(key)


def value_of(settings: Settings, key: str) -> Any:
    """Give the value of a setting."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def shown(key: str, value: Any) -> JsonValue:
    """Give a value as it may be shown."""
    if value is None or is_secret(key):
        return None
    if key in PRIVATE:
        return round(float(value), 1) if key in _ROUNDED else None
    return _plain(value)


def _view(key: str, configured: Settings, in_force: Settings, kept: frozenset[str]) -> SettingView:
    value, default = value_of(in_force, key), value_of(Settings.model_construct(), key)
    why_not = why_not_writable(configured, key)
    is_kept = key in kept and not value
    source = in_force.sources.get(key)
    return SettingView(
        key=key,
        value=shown(key, value),
        default=shown(key, default),
        is_set=is_kept or (source is not None and value not in {None, ""} and not _is_empty(value)),
        source="page" if is_kept else source or "default",
        writable=why_not is None,
        why_not=why_not,
        secret=is_secret(key),
    )


def _is_empty(value: Any) -> bool:
    return isinstance(value, SecretStr) and not value.get_secret_value()


def _plain(value: Any) -> JsonValue:
    """Write a value as a file could hold it."""
    if isinstance(value, BaseModel):
        return {name: _plain(part) for name, part in value}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, time):
        return f"{value:%H:%M}"
    is_plain = value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum))
    return value if is_plain else str(value)


def history(session: Session, key: str | None, before: int | None, most: int) -> Iterator[SettingChangeView]:
    """Give the changes, the newest first."""
    query = select(SettingChange).order_by(SettingChange.id.desc()).limit(most)
    if key is not None:
        query = query.where(SettingChange.key == key)
    if before is not None:
        query = query.where(SettingChange.id < before)
    return (change_view(row) for row in session.scalars(query))
