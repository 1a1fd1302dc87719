"""Settings that a person changes on the page: one versioned table, below file and environment.

What the file or the environment sets is never changed here, and wins. A value is written as it was given,
once the whole of the settings has been found right with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from skyrelay.domain.home_address import check_home_host, check_home_port
from skyrelay.errors import PermanentError
from skyrelay.logs import get_logger
from skyrelay.settings import (
    Settings,
    SettingsRefused,
    Source,
    TelescopeSettings,
    build_settings,
    given_values,
    setting_fields,
)
from skyrelay.smb_path import SmbPath
from skyrelay.store.secrets import SECRET_NAMES, SecretStore
from skyrelay.store.tables import SettingChange
from skyrelay.store.telescopes import lay_down_configured
from skyrelay.store.transitions import audit

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
)
PRIVATE = frozenset({"observatory.latitude", "observatory.longitude", "observatory.elevation"})
KEYS_FOLDER = Path("keys")  # below data_dir: the telescopes' keys that were given on the page
_MOST_JSON = 16 * 1024  # characters of one value: a list of telescopes has some hundreds
_SUBJECT = ("setting", None)

_log = get_logger(__name__)


class SettingsMoved(PermanentError):  # noqa: N818 - what happened to them
    """The settings were changed by somebody else since they were read."""


def is_secret(key: str) -> bool:
    """Tell whether a setting is never shown."""
    return key in SECRET_NAMES or setting_fields()[key].annotation is SecretStr


def why_not_writable(settings: Settings, key: str) -> str | None:
    """Say why a page cannot change a setting; `None` when it can."""
    if any(key == name or (name.endswith(".") and key.startswith(name)) for name in FILE_ONLY):
        return "is set in the file or the environment only"
    source = settings.sources.get(key)
    if source in {None, "page"} or key == "telescopes" or (key == "setup" and not settings.is_set_up):
        return None
    return f"is set in the {source}, which wins"


def page_values(session: Session) -> dict[str, Any]:
    """Give what was changed on the page, by key, secrets aside."""
    newest = select(func.max(SettingChange.id)).group_by(SettingChange.key)
    rows = session.scalars(select(SettingChange).where(SettingChange.id.in_(newest)))
    return {row.key: row.value for row in rows if row.value is not None and row.key in setting_fields()}


def settings_version(session: Session) -> int:
    """Give the number of the last change; 0 before the first."""
    return session.scalar(select(func.max(SettingChange.id))) or 0


def with_page_values(settings: Settings, page: Mapping[str, Any]) -> Settings:
    """Give the settings with the page's values where file and environment leave them open.

    A value that fits no more (the file has changed since) is left out, and said.
    """
    usable = _usable(settings, page)
    while usable:
        try:
            return _built(settings, usable)
        except SettingsRefused as error:
            wrong = {key for key in usable for name, _ in error.problems if _is_part(name, key)} or set(
                usable
            )
            _log.warning("settings of the page cannot be used", keys=sorted(wrong), problem=str(error))
            usable = {key: value for key, value in usable.items() if key not in wrong}
    return settings


def change_settings(
    session: Session,
    settings: Settings,
    changes: Mapping[str, Any],
    *,
    secrets: SecretStore,
    now: datetime,
    actor: str,
    expected_version: int | None = None,
) -> Settings:
    """Change settings, all or none.

    Parameters
    ----------
    session
        A writing session.
    settings
        Those of file and environment.
    changes
        The new value of each key; `None` unsets it, so that the default counts.
    secrets
        Where those among them are kept.
    now
        Aware time.
    actor
        Who changes them.
    expected_version
        What `settings_version` was when the caller read them; unset: never mind.

    Returns
    -------
    Settings
        Those in force from now on, without the secrets.

    Raises
    ------
    SettingsRefused
        If one cannot be changed, or is wrong; each is named.
    SettingsMoved
        If the version is another by now.
    """
    version = settings_version(session)
    if expected_version not in {None, version}:
        raise SettingsMoved(f"the settings have changed meanwhile: they are at version {version} now")
    problems = [*_forbidden(settings, changes), *_wrong_secrets(changes)]
    if problems:
        raise SettingsRefused(problems)
    shown = {key: value for key, value in changes.items() if not is_secret(key)}
    page = _usable(settings, {**page_values(session), **shown})
    found = _built(settings, {key: value for key, value in page.items() if value is not None})
    _check_leads_home(found, shown)
    for key, value in changes.items():
        kept = None if is_secret(key) else value
        session.add(SettingChange(key=key, value=kept, changed_at=now, changed_by=actor))
    for name in SECRET_NAMES:
        if name in changes:
            secrets.put_within(session, name, SecretStr(changes[name] or ""), now=now, actor=actor)
    if "telescopes" in changes:
        lay_down_configured(session, found.telescopes, now)
    audit(session, now=now, actor=actor, subject=_SUBJECT, event="changed", detail={"keys": sorted(changes)})
    return found


def _usable(settings: Settings, page: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in page.items()
        if key in setting_fields() and not is_secret(key) and why_not_writable(settings, key) is None
    }


def _built(settings: Settings, page: Mapping[str, Any]) -> Settings:
    values = given_values(settings)
    sources: dict[str, Source] = dict(settings.sources)
    for key, value in page.items():
        fixed = values.get("telescopes", ()) if key == "telescopes" else ()
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


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value


def _is_part(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def _forbidden(settings: Settings, changes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = setting_fields()
    for key, value in changes.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            yield key[:200], "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
        elif (why_not := why_not_writable(settings, key)) is not None:
            yield key, why_not
        elif len(str(value)) > _MOST_JSON:
            yield key, "is too long"


def _wrong_secrets(changes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in changes.keys() & set(SECRET_NAMES):
        value = changes[key]
        if value is not None and not (isinstance(value, str) and len(value) <= 1000 and value.isprintable()):
            yield key, "must be a text of up to 1000 printable characters"


def _check_leads_home(found: Settings, changed: Mapping[str, Any]) -> None:
    """Refuse what a page may not name: a host outside of the home, or a key file that was not given here."""
    problems: list[tuple[str, str]] = []
    if "telescopes" in changed:
        names = {each.get("name") for each in changed["telescopes"] or () if isinstance(each, Mapping)}
        for telescope in (each for each in found.telescopes if each.name in names):
            problems += _problems_of(telescope, found.data_dir / KEYS_FOLDER)
    if "image_watcher.watch_path" in changed:
        for root in found.image_watcher.watch_path:
            if isinstance(root.path, SmbPath):
                problems += _problem("image_watcher.watch_path", check_home_host, root.path.host)
    if problems:
        raise SettingsRefused(problems)


def _problems_of(telescope: TelescopeSettings, keys: Path) -> Iterator[tuple[str, str]]:
    yield from _problem("telescopes.host", check_home_host, telescope.host)
    for name, usual in (("rpc_port", 4700), ("http_port", 80), ("smb_port", 445), ("discovery_port", 4720)):
        yield from _problem(f"telescopes.{name}", check_home_port, getattr(telescope, name), usual)
    if telescope.key_path is not None and telescope.key_path.parent != keys:
        yield "telescopes.key_path", "must be a key that was given on the page"


def _problem(key: str, check: Any, *arguments: Any) -> Iterator[tuple[str, str]]:
    try:
        check(*arguments)
    except ValueError as error:
        yield key, str(error)
