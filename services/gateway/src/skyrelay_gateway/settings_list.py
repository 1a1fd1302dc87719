"""The settings as a list: each with its value, and whether that is the default. Secrets stay secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from skyrelay.settings import Settings

# Somebody's home, and names of logins: whether they are set is all that is said.
_NOT_SHOWN = frozenset(
    {
        "observatory.latitude",
        "observatory.longitude",
        "observatory.elevation",
        "crowdsky.username",
        "database_url",
        "redis_url",
    }
)


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting; ``value`` is `None` for one that is not shown, ``is_set`` says that it is no default."""

    key: str
    value: str | None
    is_set: bool


@dataclass(frozen=True, slots=True)
class SettingSection:
    """The settings of one section; those outside any have the empty name."""

    name: str
    lines: tuple[SettingLine, ...]


def list_settings(settings: Settings) -> tuple[SettingSection, ...]:
    """List all settings by section, in the order of the documentation."""
    loose: list[SettingLine] = []
    sections: list[SettingSection] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            sections.append(SettingSection(name, tuple(_lines(value, f"{name}."))))
        else:
            loose.append(_line(name, value, name in settings.model_fields_set))
    return (SettingSection("", tuple(loose)), *sections)


def _lines(section: BaseModel, prefix: str) -> Iterator[SettingLine]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _lines(value, f"{prefix}{name}.")
        else:
            yield _line(f"{prefix}{name}", value, name in section.model_fields_set)


def _line(key: str, value: Any, is_set: bool) -> SettingLine:
    if key in _NOT_SHOWN or isinstance(value, SecretStr):
        return SettingLine(key, None, is_set and bool(_bare(value)))
    return SettingLine(key, _text(value), is_set)


def _bare(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value is not None and value != ""


def _text(value: Any) -> str:
    if isinstance(value, tuple | list) and value and all(isinstance(each, BaseModel) for each in value):
        return "\n".join(str(getattr(each, "name", "") or each) for each in value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    return json.dumps(value, default=str, ensure_ascii=False)
