"""What a page may set, and how that lies below what file and environment set: no database in here.

So the watcher, which has none, lays the page's settings under its own in the same way as all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from skyrelay.logs import get_logger
from skyrelay.settings import (
    Settings,
    SettingsRefused,
    Source,
    build_settings,
    given_values,
    setting_fields,
)

KEYS_FOLDER = Path("keys")  # below data_dir: the telescopes' keys that were given on the page
# What is needed before the database is open, what says where files lie and whom we send them to: a page that
# could change these could read and send anything.
FILE_ONLY = (
    "data_dir",
    "secret_key_file",
    "redis_url",
    "database_url",
    "gateway.",
    "flower.",
    "archive.path",
    "crowdsky.base_url",
    "cloud.conditions.",
    "mqtt.",
    "home_assistant.",
    "notifications.urls",
)
PRIVATE = frozenset({"observatory.latitude", "observatory.longitude", "observatory.elevation"})
# Parts of two logins, kept encrypted (see `skyrelay.store.secrets`), though no secrets by themselves.
_ACCOUNTS = frozenset({"crowdsky.username", "cloud.node_id", "mqtt.username"})
_ADDRESSES = frozenset({"notifications.urls"})  # with the tokens that let anybody write to them

_log = get_logger(__name__)


def is_secret(key: str) -> bool:
    """Tell whether a setting is never shown."""
    return key in _ACCOUNTS or key in _ADDRESSES or setting_fields()[key].annotation is SecretStr


def why_not_writable(settings: Settings, key: str) -> str | None:
    """Say why a page cannot change a setting; `None` when it can."""
    if any(key == name or (name.endswith(".") and key.startswith(name)) for name in FILE_ONLY):
        return "is set in the file or the environment only"
    source = settings.sources.get(key)
    if source in {None, "page"} or key == "telescopes" or (key == "setup" and not settings.is_set_up):
        return None
    return f"is set in the {source}, which wins"


def with_page_values(settings: Settings, page: Mapping[str, Any]) -> Settings:
    """Give the settings with the page's values where file and environment leave them open.

    A value that fits no more (the file has changed since) is left out, and said.
    """
    return _fitted(settings, page)[0]


def fitting_values(settings: Settings, page: Mapping[str, Any]) -> dict[str, Any]:
    """Give those of the page's values that can be used beside what file and environment say by now."""
    return _fitted(settings, page)[1]


def _fitted(settings: Settings, page: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    usable = usable_values(settings, page)
    while usable:
        try:
            return with_values(settings, usable), usable
        except SettingsRefused as error:
            wrong = {key for key in usable for name, _ in error.problems if _is_part(name, key)}
            # One does not go with another: Start stays pressed all the same, if that can be.
            wrong = wrong or set(usable) - {"setup"} or set(usable)
            _log.warning("settings of the page cannot be used", keys=sorted(wrong), problem=str(error))
            usable = {key: value for key, value in usable.items() if key not in wrong}
    return settings, {}


def usable_values(settings: Settings, page: Mapping[str, Any]) -> dict[str, Any]:
    """Give those of the page's values that a page may set and that neither file nor environment sets."""
    return {
        key: value
        for key, value in page.items()
        if key in setting_fields() and not is_secret(key) and why_not_writable(settings, key) is None
    }


def with_values(settings: Settings, page: Mapping[str, Any]) -> Settings:
    """Give the settings with values that are usable; raises `SettingsRefused` if one is wrong."""
    values = given_values(settings)
    sources: dict[str, Source] = dict(settings.sources)
    for key, value in page.items():
        fixed = values.get("telescopes", ()) if key == "telescopes" else ()
        value = _with_own_keys(settings, value) if key == "telescopes" else value  # noqa: PLW2901 - the same, here
        _put(values, key, [*fixed, *_others(fixed, value)] if fixed else value)
        if not fixed:
            sources[key] = "page"
    return build_settings(values, sources)


def _others(fixed: Any, added: Any) -> Iterator[Any]:
    """Give the page's telescopes that the file does not name itself."""
    names = {each.name for each in fixed}
    for each in added if isinstance(added, list | tuple) else ():
        if not isinstance(each, Mapping) or each.get("name") not in names:
            yield each


def own_key(data_dir: Path, key_path: str) -> str:
    """Give where a key that was given on the page lies now.

    It is kept as ``keys/NAME``. Earlier releases kept the whole path, which is another one on another host,
    in a container, or after a restore: of such the name counts. Any other path stays what it is.
    """
    path = Path(key_path)
    is_given = path.parent.name == str(KEYS_FOLDER) and path.name not in {"", ".", ".."}
    return str(data_dir / KEYS_FOLDER / path.name) if is_given else key_path


def _with_own_keys(settings: Settings, telescopes: Any) -> Any:
    if not isinstance(telescopes, list | tuple):
        return telescopes
    return [_with_own_key(settings.data_dir, each) for each in telescopes]


def _with_own_key(data_dir: Path, telescope: Any) -> Any:
    if not isinstance(telescope, Mapping) or not isinstance(telescope.get("key_path"), str):
        return telescope
    return {**telescope, "key_path": own_key(data_dir, telescope["key_path"])}


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value


def _is_part(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")
