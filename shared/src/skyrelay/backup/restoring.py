"""Put a backup in the place of what is there."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError  # noqa: N812 - it is a class

from alembic.util import CommandError
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.exc import SQLAlchemyError

from skyrelay.backup.errors import BackupError
from skyrelay.backup.home_files import in_words, place_of
from skyrelay.backup.manifest import Manifest, SavedTable, read_manifest
from skyrelay.backup.replacing import Replacing
from skyrelay.backup.rows import continue_numbering, delete_rows, read_rows, tables_of, write_rows
from skyrelay.errors import ConfigurationError
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.secrets import SecretStore

_LONGEST_LINE = 64 * 1024 * 1024  # bytes; a row is a few hundred
_MOST_FILE_BYTES = 1024 * 1024  # a key, or credentials


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and what (in words) a person has to give again."""

    manifest: Manifest
    to_enter_again: tuple[str, ...]


def restore(
    settings: Settings, store: Store, file: Path, *, now: datetime, replace: bool = False
) -> Restored:
    """Put a backup in the place of what the database and ``data_dir`` hold; all of it or nothing.

    A backup of an earlier release is brought to this one's schema beside, so that the database changes in
    one transaction.

    Parameters
    ----------
    store
        Where to; it need not be migrated.
    now
        Aware UTC.
    replace
        Whether rows that are there may go.

    Raises
    ------
    BackupError
        If the file is none of ours, is damaged, or of a later release; or if the database holds rows and
        ``replace`` is not said. Nothing is changed then.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with ZipFile(file) as archive, tempfile.TemporaryDirectory(dir=settings.data_dir) as beside:
            manifest = read_manifest(archive)
            files = _checked_files(settings, archive, manifest)
            with _staged(archive, manifest, Path(beside)) as staged:
                migrate(store)
                with Replacing(files) as replacing:  # a key that fails to come takes the rows back with it
                    _exchange(staged, store, replacing, replace=replace)
            _forget_unreadable(settings, store, now)
    except (BadZipFile, EOFError, ZlibError, RuntimeError) as error:  # RuntimeError: a member is encrypted
        raise BackupError(f"{file} is damaged, or no backup: {error}") from error
    except OSError as error:
        raise BackupError(f"{file} cannot be restored ({error.strerror or error})") from error
    return Restored(manifest, tuple(in_words(manifest.left_out)))


def rows_there(store: Store) -> int:
    """Count the rows of all tables; 0 where there is no database yet."""
    with store.engine.connect() as connection:
        counts = (select(func.count()).select_from(table) for table in tables_of(connection))
        return sum(connection.execute(count).scalar_one() for count in counts)


def _forget_unreadable(settings: Settings, store: Store, now: datetime) -> None:
    """Take secrets away whose key was left out: they would keep the services from starting."""
    secrets = SecretStore(store, settings.key_path)
    try:
        secrets.check_key()
    except ConfigurationError:
        secrets.forget(now=now, actor="restore")


class _staged:  # noqa: N801 - a context manager, named as its use reads
    """A database of its own with what the backup holds, at this release's schema."""

    def __init__(self, archive: ZipFile, manifest: Manifest, folder: Path) -> None:
        self._archive = archive
        self._manifest = manifest
        self._store = Store(f"sqlite:///{folder / 'staged.db'}")

    def __enter__(self) -> Store:
        try:
            self._fill()
        except CommandError as error:
            self._store.close()
            raise BackupError(
                f"the backup is of release {self._manifest.release}, later than this one: "
                "restore it with that one"
            ) from error
        except (SQLAlchemyError, KeyError, ValueError) as error:
            self._store.close()
            raise BackupError(f"the backup does not hold what it says ({type(error).__name__})") from error
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def _fill(self) -> None:
        migrate(self._store, to=self._manifest.schema_revision)
        with self._store.writing_engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            tables = {table.name: table for table in tables_of(connection)}
            for saved in self._manifest.tables:
                _read_table(self._archive, saved, connection, tables[saved.name])
        migrate(self._store)


def _read_table(archive: ZipFile, saved: SavedTable, connection: Connection, table: Table) -> None:
    digest = hashlib.sha256()
    with archive.open(saved.member) as member:
        count = write_rows(connection, table, saved.columns, _lines(member, digest))
    if (count, digest.hexdigest()) != (saved.rows, saved.sha256):
        raise BackupError(f"the backup is damaged: {saved.member} is not what was written")


def _lines(member: IO[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    while line := member.readline(_LONGEST_LINE):
        digest.update(line)
        yield line


def _exchange(staged: Store, store: Store, files: Replacing, *, replace: bool) -> None:
    """Put the staged rows and files in the place of those that are there, in one transaction."""
    with staged.engine.connect() as source, store.writing_engine.begin() as connection:
        tables = tables_of(connection)
        if not replace and _any_row(connection, tables):
            raise BackupError("the database holds a home already: say that the backup is to replace it")
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        delete_rows(connection, tables)
        for table in tables:
            write_rows(connection, table, table.columns.keys(), read_rows(source, table))
        continue_numbering(connection, tables)
        files.swap()


def _any_row(connection: Connection, tables: Sequence[Table]) -> bool:
    return any(connection.execute(select(table).limit(1)).first() for table in tables)


def _checked_files(settings: Settings, archive: ZipFile, manifest: Manifest) -> dict[Path, bytes]:
    """Read the files before anything is changed; their names decide nothing but which of ours they are."""
    read = {}
    for name in manifest.files:
        place = place_of(settings, name)
        if place is None:
            raise BackupError(f"the backup holds a file that is none of ours: {name[:100]!r}")
        try:
            with archive.open(f"files/{name}") as member:
                read[place] = member.read(_MOST_FILE_BYTES + 1)
        except KeyError as error:
            raise BackupError(f"the backup is damaged: files/{name[:100]} is missing") from error
        if len(read[place]) > _MOST_FILE_BYTES:
            raise BackupError(f"the backup is damaged: files/{name[:100]} is longer than such a file can be")
    return read
