"""The telescopes' keys that were given on a page: files, kept as long as something names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.logs import get_logger
from skyrelay.settings_page import KEYS_FOLDER
from skyrelay.store.page_settings import page_values
from skyrelay.store.tables import TelescopeTrial

_TIME_TO_ADD = timedelta(days=1)  # as long as a look at a telescope is kept (skyrelay.store.trials)


def drop_refused(session: Session, data_dir: Path, trial: TelescopeTrial) -> None:
    """Remove a key that its telescope has refused, unless a telescope that was added has it too."""
    key = trial.telescope.get("key_path")
    if key is None or Path(key).name in set(_of_telescopes(session)):
        return
    trial.telescope = {name: value for name, value in trial.telescope.items() if name != "key_path"}
    _remove(data_dir / KEYS_FOLDER / Path(key).name)


def drop_unused(session: Session, data_dir: Path, now: datetime) -> None:
    """Remove keys that were given long ago and that neither a telescope nor a look at one names."""
    folder = data_dir / KEYS_FOLDER
    used = {*_of_telescopes(session), *_names(session.scalars(select(TelescopeTrial.telescope)))}
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.name not in used and file.stat().st_mtime < (now - _TIME_TO_ADD).timestamp():
            _remove(file)


def _of_telescopes(session: Session) -> Iterator[str]:
    return _names(page_values(session).get("telescopes", ()))


def _names(telescopes: Any) -> Iterator[str]:
    for each in telescopes:
        if isinstance(each, Mapping) and each.get("key_path"):
            yield Path(each["key_path"]).name


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:  # another look removes it
        get_logger(__name__).warning("a key that nothing uses stays", file=file.name, problem=error.strerror)
