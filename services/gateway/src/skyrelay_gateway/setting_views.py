"""The settings as the API shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import AwareDatetime, JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.settings import Settings
from skyrelay.store.page_settings import settings_version
from skyrelay.store.setting_lines import setting_lines, shown
from skyrelay.store.tables import SettingChange
from skyrelay_gateway.models import View


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
    """Give all settings: of file and environment, and in force."""
    lines = setting_lines(session, configured, in_force)
    views = tuple(SettingView.model_validate(line, from_attributes=True) for line in lines)
    return SettingsView(version=settings_version(session), settings=views)


def history(session: Session, key: str | None, before: int | None, most: int) -> Iterator[SettingChangeView]:
    """Give the changes, the newest first."""
    query = select(SettingChange).order_by(SettingChange.id.desc()).limit(most)
    if key is not None:
        query = query.where(SettingChange.key == key)
    if before is not None:
        query = query.where(SettingChange.id < before)
    return (_change_view(row) for row in session.scalars(query))


def _change_view(row: SettingChange) -> SettingChangeView:
    return SettingChangeView(
        version=row.id,
        key=row.key,
        value=shown(row.key, row.value),
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
