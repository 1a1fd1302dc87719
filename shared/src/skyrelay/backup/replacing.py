"""Files put in the place of others, together with a change of the database: all of it, or nothing.

A journal in ``data_dir`` says what is being replaced, and a mark in the database whether its half has been
committed. So whatever was cut short, by a kill or a power cut, is finished or undone by `settle` later.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, inspect

from skyrelay.backup.errors import BackupError
from skyrelay.backup.home_files import place_of
from skyrelay.backup.rows import MARK
from skyrelay.settings import Settings
from skyrelay.store.engine import Store

_JOURNAL = "restore.journal"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # exFAT, some network mounts


@dataclass(frozen=True, slots=True)
class _Journal:
    """What is being replaced: ``there`` says of each file (its name in the backup) whether there was one."""

    mark: str  # the table that says that the database's half is committed
    there: dict[str, bool]
    is_ready: bool = False  # from here on, what was there lies beside, and places may change


class Replacing:
    """Files that lie ready beside their places from the beginning; a context.

    `swap` puts them in place. When the ``with`` ends and the transaction of `swap` was not committed, what
    was there before is there again.

    Parameters
    ----------
    files
        What belongs where, by its name in the backup; readable by their owner alone.

    Raises
    ------
    OSError
        If one cannot be written, at the beginning or in `swap`.
    """

    def __init__(self, settings: Settings, store: Store, files: Mapping[str, bytes]) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        there = {name: _place(settings, name).is_file() for name in files}
        self._journal = _Journal(MARK + secrets.token_hex(8), there)

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except OSError:
            settle(self._settings, self._store)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        settle(self._settings, self._store)

    def swap(self, connection: Connection) -> None:
        """Put all in place, in the transaction that decides whether they stay there."""
        for stray in _marks(connection):
            connection.exec_driver_sql(f"DROP TABLE {stray}")
        connection.exec_driver_sql(f"CREATE TABLE {self._journal.mark} (committed INTEGER)")
        for name in self._files:
            place = _place(self._settings, name)
            _ready(place).replace(place)
        _sync(_place(self._settings, name).parent for name in self._files)

    def _prepare(self) -> None:
        _write_journal(self._settings, self._journal)
        for name, content in self._files.items():
            place = _place(self._settings, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(_ready(place), content)
            if self._journal.there[name]:
                _keep(place)
        _sync(_place(self._settings, name).parent for name in self._files)
        _write_journal(self._settings, replace(self._journal, is_ready=True))


def is_unsettled(settings: Settings) -> bool:
    """Tell whether a restore is under way, or was cut short."""
    return (settings.data_dir / _JOURNAL).is_file()


def settle(settings: Settings, store: Store) -> None:
    """Finish or undo a restore that was cut short, by whether its rows are there; no other may be under way.

    Raises
    ------
    BackupError
        If the journal cannot be read, or a file cannot be put back. It can be tried again.
    """
    if not is_unsettled(settings):
        return
    try:
        _settle(settings, store)
    except OSError as error:
        raise BackupError(
            f"a restore was cut short and cannot be undone ({error.strerror}: {error.filename}); try again"
        ) from error


def _settle(settings: Settings, store: Store) -> None:
    journal = _read_journal(settings)
    with store.engine.connect() as connection:
        is_committed = journal.mark in _marks(connection)
    for name, was_there in journal.there.items():
        if journal.is_ready and not is_committed:
            _put_back(_place(settings, name), was_there=was_there)
        _tidy_up(_place(settings, name))
    _sync(_place(settings, name).parent for name in journal.there)
    (settings.data_dir / _JOURNAL).unlink()
    _sync([settings.data_dir])
    if is_committed:  # last: without its mark, the journal would be read as one of rows that never came
        with store.write() as session:
            session.connection().exec_driver_sql(f"DROP TABLE {journal.mark}")


def _marks(connection: Connection) -> list[str]:
    return [name for name in inspect(connection).get_table_names() if name.startswith(MARK)]


def _place(settings: Settings, name: str) -> Path:
    place = place_of(settings, name)
    if place is None:
        raise BackupError(f"{settings.data_dir / _JOURNAL} names a file that is none of ours: {name[:100]!r}")
    return place


def _read_journal(settings: Settings) -> _Journal:
    file = settings.data_dir / _JOURNAL
    try:
        return _Journal(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BackupError(f"{file} cannot be read: take it away, and restore the backup again") from error


def _write_journal(settings: Settings, journal: _Journal) -> None:
    file = settings.data_dir / _JOURNAL
    _write(_ready(file), json.dumps(asdict(journal)).encode())
    _ready(file).replace(file)
    _sync([file.parent])


def _ready(place: Path) -> Path:
    return place.with_name(f".{place.name}.restored")


def _before(place: Path) -> Path:
    return place.with_name(f".{place.name}.before")


def _write(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _keep(place: Path) -> None:
    kept = _before(place)
    kept.unlink(missing_ok=True)
    try:
        kept.hardlink_to(place)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _write(kept, place.read_bytes())
        shutil.copymode(place, kept)


def _put_back(place: Path, *, was_there: bool) -> None:
    if not was_there:
        if not place.is_dir():  # that is none of what we put there
            place.unlink(missing_ok=True)
    elif _before(place).exists():  # else it has been put back already
        _before(place).replace(place)


def _tidy_up(place: Path) -> None:
    for left in (_ready(place), _before(place)):
        left.unlink(missing_ok=True)


def _sync(folders: Iterable[Path]) -> None:
    """Have what was named anew in these folders survive a power cut."""
    for folder in set(folders):
        if folder.is_dir():
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
