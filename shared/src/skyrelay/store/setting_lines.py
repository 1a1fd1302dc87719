"""The settings as a person may see them: never a secret, of a home's place a tenth of a degree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import time
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, JsonValue, SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.settings import Settings, Source, setting_fields
from skyrelay.settings_page import PRIVATE, is_secret, why_not_writable
from skyrelay.store.tables import Secret

Origin = Source | Literal["default"]
_ROUNDED = frozenset({"observatory.latitude", "observatory.longitude"})


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting: what counts now, and where that comes from.

    Attributes
    ----------
    value, default
        As a file could hold them; `None` for secrets, and for the home's height.
    is_set
        Whether there is one; a secret shows no more.
    why_not
        Why a page cannot change it; `None` where it can.
    """

    key: str
    value: JsonValue
    default: JsonValue
    is_set: bool
    source: Origin
    why_not: str | None
    secret: bool

    @property
    def writable(self) -> bool:
        """Whether a page can change it."""
        return self.why_not is None

    def as_json(self) -> dict[str, Any]:
        """Give it for machines."""
        return {**asdict(self), "writable": self.writable}


def setting_lines(session: Session, configured: Settings, in_force: Settings) -> Iterator[SettingLine]:
    """Give all settings.

    Parameters
    ----------
    configured
        Those of file and environment.
    in_force
        Those that count, secrets aside.
    """
    kept = frozenset(session.scalars(select(Secret.name)))
    return (_line(key, configured, in_force, kept) for key in setting_fields())


def value_of(settings: Settings, key: str) -> Any:
    """Give the value of a setting."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def shown(key: str, value: Any) -> JsonValue:
    """Give a value of a setting as it may be shown."""
    if value is None or key not in setting_fields() or is_secret(key):
        return None
    if key in PRIVATE:
        return round(float(value), 1) if key in _ROUNDED else None
    return _plain(value)


def _line(key: str, configured: Settings, in_force: Settings, kept: frozenset[str]) -> SettingLine:
    value = value_of(in_force, key)
    source: Origin = in_force.sources.get(key) or "default"
    is_kept = key in kept and _is_empty(value)
    return SettingLine(
        key=key,
        value=shown(key, value),
        default=shown(key, value_of(Settings.model_construct(), key)),
        is_set=is_kept or (source != "default" and not _is_empty(value)),
        source="page" if is_kept else source,
        why_not=why_not_writable(configured, key),
        secret=is_secret(key),
    )


def _is_empty(value: Any) -> bool:
    return value is None or (value.get_secret_value() if isinstance(value, SecretStr) else value) in ("", ())


def _plain(value: Any) -> JsonValue:
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
