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
from skyrelay.settings import Settings, SettingsRefused, TelescopeSettings, setting_fields
from skyrelay.settings_page import (
    KEYS_FOLDER,
    fitting_values,
    is_secret,
    usable_values,
    why_not_writable,
    with_values,
)
from skyrelay.smb_path import SmbPath
from skyrelay.store.account_addresses import forgotten, unmovable
from skyrelay.store.secrets import SECRET_NAMES, SecretName, SecretStore
from skyrelay.store.tables import Secret, SettingChange
from skyrelay.store.telescopes import lay_down_configured
from skyrelay.store.transitions import audit

_MOST_JSON = 16 * 1024  # characters of one value: a list of telescopes has some hundreds
_SUBJECT = ("setting", None)


class SettingsMoved(PermanentError):  # noqa: N818 - what happened to them
    """The settings were changed by somebody else since they were read."""


def page_values(session: Session) -> dict[str, Any]:
    """Give what was changed on the page, by key, secrets aside."""
    newest = select(func.max(SettingChange.id)).group_by(SettingChange.key)
    rows = session.scalars(select(SettingChange).where(SettingChange.id.in_(newest)))
    return {row.key: row.value for row in rows if row.value is not None and row.key in setting_fields()}


def settings_version(session: Session) -> int:
    """Give the number of the last change; 0 before the first."""
    return session.scalar(select(func.max(SettingChange.id))) or 0


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
        The new value of each key; `None` unsets it, so that the default counts. A login whose server is
        changed is forgotten unless it is among them.
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
    # What was right once and fits the file no more keeps nobody from changing something else.
    kept = fitting_values(settings, page_values(session))
    page = usable_values(settings, {**kept, **shown})
    before = with_values(settings, kept)
    found = with_values(settings, {key: value for key, value in page.items() if value is not None})
    _check_leads_home(found, shown)
    if problems := list(unmovable(settings, before, found)):
        raise SettingsRefused(problems)
    changes = {**changes, **dict.fromkeys(_left_behind(session, before, found, changes))}
    for key, value in changes.items():
        written = None if is_secret(key) else value
        session.add(SettingChange(key=key, value=written, changed_at=now, changed_by=actor))
    for name in SECRET_NAMES:
        if name in changes:
            secrets.put_within(session, name, SecretStr(changes[name] or ""), now=now, actor=actor)
    if "telescopes" in changes:
        lay_down_configured(session, found.telescopes, now)
    audit(session, now=now, actor=actor, subject=_SUBJECT, event="changed", detail={"keys": sorted(changes)})
    return found


def _left_behind(
    session: Session, before: Settings, found: Settings, changes: Mapping[str, Any]
) -> list[SecretName]:
    """Give the kept parts of a login whose server is another from now on."""
    return [name for name in forgotten(before, found, changes) if session.get(Secret, name) is not None]


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
