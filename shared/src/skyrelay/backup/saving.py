"""Make a backup while everything goes on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Table

from skyrelay.backup.errors import BackupError
from skyrelay.backup.home_files import MOST_FILE_BYTES, secret_files
from skyrelay.backup.manifest import NAME, Manifest, SavedTable
from skyrelay.backup.rows import read_rows, tables_of
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.version import __version__


def save(settings: Settings, store: Store, file: Path, *, now: datetime, with_key: bool = False) -> Manifest:
    """Write a backup: all tables as they are at one moment, and the secret files if they are wanted.

    The stacks in the archive folder are not in it.

    Parameters
    ----------
    file
        Where to; readable by its owner alone. It is whole or not there.
    now
        Aware UTC.
    with_key
        Put in what is secret too: the key of the secrets in the database, the node's credentials, the
        telescopes' keys.

    Raises
    ------
    BackupError
        If the file is there already or cannot be written, or the database is empty.
    """
    if file.exists():
        raise BackupError(f"{file} is there already: give another name")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, half = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # 0600
        try:
            with os.fdopen(handle, "wb") as stream:
                manifest = _write(settings, store, ZipFile(stream, "w", ZIP_DEFLATED), now, with_key)
                stream.flush()
                os.fsync(stream.fileno())
            _name(Path(half), file)
        finally:
            Path(half).unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"{file} cannot be written ({error.strerror})") from error
    return manifest


def _name(half: Path, file: Path) -> None:
    """Give a file its name, never over another one."""
    try:
        os.link(half, file)
    except FileExistsError:
        raise
    except OSError:  # a file system that knows no links
        file.touch(0o600, exist_ok=False)
        half.replace(file)


def _write(settings: Settings, store: Store, archive: ZipFile, now: datetime, with_key: bool) -> Manifest:
    with archive, store.engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            raise BackupError("the database is empty: there is nothing to back up")
        saved = [_write_table(archive, connection, table) for table in tables_of(connection)]
        files = list(secret_files(settings))
        for name, place in files if with_key else []:
            if place.stat().st_size > MOST_FILE_BYTES:
                raise BackupError(f"{place} is too large for a key or credentials: take it away first")
            archive.write(place, f"files/{name}")
        names = tuple(name for name, _ in files)
        manifest = Manifest(
            release=__version__,
            schema_revision=revision,
            created_at=now,
            tables=tuple(saved),
            files=names if with_key else (),
            left_out=() if with_key else names,
        )
        archive.writestr(NAME, manifest.model_dump_json(indent=2))
    return manifest


def _write_table(archive: ZipFile, connection: Connection, table: Table) -> SavedTable:
    count, digest = 0, hashlib.sha256()
    with archive.open(f"tables/{table.name}.jsonl", "w", force_zip64=True) as member:
        for line in read_rows(connection, table):
            member.write(line)
            digest.update(line)
            count += 1
    return SavedTable(
        name=table.name, columns=tuple(table.columns.keys()), rows=count, sha256=digest.hexdigest()
    )


def newest_first(folder: Path, pattern: str) -> Sequence[Path]:
    """Give the backups in a folder whose names (with their time) fit a pattern."""
    return sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime, reverse=True)
