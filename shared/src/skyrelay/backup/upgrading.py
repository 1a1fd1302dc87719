"""Bring a home's database to this release, with a copy made first."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from skyrelay.backup.replacing import is_unsettled, settle
from skyrelay.backup.saving import newest_first, save
from skyrelay.data_dir_use import nobody_works_in
from skyrelay.logs import get_logger
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import current_head, found_schema, migrate

FOLDER = "backups"  # below data_dir
_KEPT = 3

_log = get_logger(__name__)


def upgrade(settings: Settings, store: Store, *, now: datetime) -> Path | None:
    """Apply the migrations that are missing; give the copy that was made before, if one was.

    A restore that was cut short is finished or undone first.

    The last three such copies are kept.

    Parameters
    ----------
    now
        Aware UTC.

    Raises
    ------
    BackupError
        If the copy cannot be made: the database is as it was then.
    ConfigurationError
        If a restore is under way, or was cut short and a service works there already.
    TransientError
        If the database does not answer.
    """
    if is_unsettled(settings):
        with nobody_works_in(settings.data_dir):
            settle(settings, store)
    found = found_schema(store)
    copy = None
    if found is not None and found != current_head():
        copy = settings.data_dir / FOLDER / f"before-{current_head()}-{now:%Y-%m-%dT%H%M%SZ}.zip"
        save(settings, store, copy, now=now, with_key=False)
        _log.info("a copy of the database was made before it is brought to this release", file=str(copy))
        for old in newest_first(copy.parent, "before-*.zip")[_KEPT:]:
            old.unlink()
    migrate(store)
    return copy
