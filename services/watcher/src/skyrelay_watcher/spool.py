"""The watcher's memory, one SQLite file: what is said already (journal), what Redis has not got yet (spool).

An event is on disk before anybody tries to send it, and leaves the spool in the transaction that writes
it into the journal, so a kill at any moment loses nothing; at worst an event is sent twice, which is
harmless where it is recorded. Names are stored as bytes: a file name need not be text.

The file can be rebuilt from the folders at any time. One that SQLite cannot read is set aside.
"""

from __future__ import annotations

import copy
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

from skyrelay.errors import ConfigurationError, TransientError
from skyrelay.logs import get_logger
from skyrelay.mounts import file_system_of, is_network_file_system
from skyrelay_watcher.fits_look import Stamp

_log = get_logger(__name__)

# A mount that is away longer than that has its files told anew when it returns, which is harmless.
FORGET_AFTER = timedelta(days=30)
_BUSY_TIMEOUT_S = 5.0
_SCHEMA_VERSION = 2  # another one is set aside and built anew: the folders are the truth
_SCHEMA = """
CREATE TABLE IF NOT EXISTS published (
    root BLOB NOT NULL, folder BLOB NOT NULL, name BLOB NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    problem TEXT, epoch TEXT NOT NULL,
    gone_since INTEGER,
    PRIMARY KEY (root, folder, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS published_gone ON published (gone_since) WHERE gone_since IS NOT NULL;
CREATE TABLE IF NOT EXISTS place (root BLOB PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root BLOB NOT NULL, folder BLOB NOT NULL, name BLOB NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    problem TEXT, event TEXT NOT NULL,
    UNIQUE (root, folder, name)
);
"""
_FILE = "root = ? AND folder = ? AND name = ?"
_KNOWN = "SELECT name, size, mtime_ns, ctime_ns, problem, {rest} FROM {table} WHERE root = ? AND folder = ?"
_KNOWN_IN_FOLDER = (
    f"{_KNOWN.format(table='published', rest='epoch, gone_since IS NOT NULL')} "
    f"UNION ALL {_KNOWN.format(table='spool', rest='NULL, 0')}"
)  # the spool comes last: it holds the newer word
_FIGURES = """
SELECT (SELECT count(*) FROM published
         WHERE root = :root AND problem IS NULL AND gone_since IS NULL
           AND (:epoch IS NULL OR epoch = :epoch)),
       (SELECT count(*) FROM published AS said
         WHERE root = :root AND problem IS NOT NULL AND gone_since IS NULL
           AND NOT EXISTS (SELECT 1 FROM spool AS newer WHERE newer.root = said.root
                            AND newer.folder = said.folder AND newer.name = said.name))
     + (SELECT count(*) FROM spool WHERE root = :root AND problem IS NOT NULL),
       (SELECT count(*) FROM spool WHERE root = :root),
       (SELECT count(*) FROM published WHERE root = :root AND gone_since IS NULL)
     + (SELECT count(*) FROM spool AS newer
         WHERE root = :root
           AND NOT EXISTS (SELECT 1 FROM published AS said WHERE said.root = newer.root
                            AND said.folder = newer.folder AND said.name = newer.name
                            AND said.gone_since IS NULL))
"""


@dataclass(frozen=True, slots=True)
class FileKey:
    """Names one file: the root as configured, the folder below it (``""`` for the root), the name."""

    root: str
    folder: str
    name: str

    @property
    def path(self) -> str:
        """Path relative to the root."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class Known(NamedTuple):  # made for every row of the journal at each scan
    """What was said of a file last.

    ``epoch`` is `None` when it still waits in the spool, ``is_gone`` that it was not there the last time
    that somebody looked.
    """

    stamp: Stamp
    problem: str | None
    epoch: str | None
    is_gone: bool = False

    def covers(self, stamp: Stamp, epoch: str | None) -> bool:
        """Tell whether a file that looks like that needs no further word.

        Parameters
        ----------
        stamp
            The file's, now.
        epoch
            The stream's; `None` while it is not known (then any counts).
        """
        # A file that could not be read may be mended by a new mode, which shows in the time of change alone.
        same = stamp.has_same_content(self.stamp) if self.problem is None else stamp == self.stamp
        return same and self.is_of(epoch)

    def is_of(self, epoch: str | None) -> bool:
        """Tell whether the stream of that epoch has it, or will get it."""
        return self.epoch is None or epoch is None or self.epoch == epoch


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is to be said of a file; ``event`` is the JSON of its frame event."""

    key: FileKey
    stamp: Stamp
    problem: str | None
    event: str


@dataclass(frozen=True, slots=True)
class Spooled:
    """A row of the spool; ``path`` is relative to the root."""

    row_id: int
    root: str
    path: str
    event: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Files of one root: readable and published, unreadable, in the spool, and known at all."""

    published: int
    unreadable: int
    spooled: int
    seen: int


class Spool:
    """Journal and spool in one file; its methods may be called from any thread.

    Parameters
    ----------
    file
        Its folder is made where it is missing.

    Raises
    ------
    ConfigurationError
        If it would lie on a network file system, where SQLite's locks do not hold, or cannot be made.
    sqlite3.Error
        By all methods: the disk is full, or worse.
    """

    def __init__(self, file: Path) -> None:
        _check_place(file)
        self._lock = threading.Lock()
        self._connection = _open(file)
        self._around: Callable[[], AbstractContextManager[None]] = nullcontext

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._turn() as connection:
            connection.close()

    def within(self, around: Callable[[], AbstractContextManager[None]]) -> Self:
        """Give the same spool; each call, the wait for its turn included, runs inside ``around()``."""
        same = copy.copy(self)
        same._around = around
        return same

    def known_in(self, root: str, folder: str) -> dict[str, Known]:
        """Give what was said of the files of one folder, by name."""
        place = (_blob(root), _blob(folder))
        with self._turn() as connection:
            rows = connection.execute(_KNOWN_IN_FOLDER, place * 2).fetchall()
        return {os.fsdecode(name): _known(row) for name, *row in rows}

    def known(self, key: FileKey) -> Known | None:
        """Give what was said of one file."""
        query = " UNION ALL ".join(f"{half} AND name = ?" for half in _KNOWN_IN_FOLDER.split(" UNION ALL "))
        with self._turn() as connection:
            rows = connection.execute(query, _blobs(key) * 2).fetchall()
        return _known(rows[-1][1:]) if rows else None

    def folders(self, root: str) -> list[str]:
        """Give the folders in which there are files, as far as the journal knows."""
        query = "SELECT DISTINCT folder FROM published WHERE root = ? AND gone_since IS NULL"
        with self._turn() as connection:
            rows = connection.execute(query, (_blob(root),)).fetchall()
        return [os.fsdecode(folder) for (folder,) in rows]

    def knows_files(self, root: str) -> bool:
        """Tell whether there were files below the root the last time that somebody looked."""
        query = "SELECT EXISTS (SELECT 1 FROM published WHERE root = ? AND gone_since IS NULL)"
        with self._turn() as connection:
            return bool(connection.execute(query, (_blob(root),)).fetchone()[0])

    def place(self, root: str) -> str | None:
        """Give what `remember_place` was told last."""
        with self._turn() as connection:
            row = connection.execute("SELECT identity FROM place WHERE root = ?", (_blob(root),)).fetchone()
        return row[0] if row else None

    def remember_place(self, root: str, identity: str) -> None:
        """Write down which folder it is that had files in it."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (_blob(root), identity))

    def add(self, sightings: Iterable[Sighting]) -> None:
        """Put events into the spool; a newer one of a file takes the older one's place."""
        rows = [
            (*_blobs(sighting.key), *_numbers(sighting.stamp), sighting.problem, sighting.event)
            for sighting in sightings
        ]
        insert = (
            "INSERT OR REPLACE INTO spool (root, folder, name, size, mtime_ns, ctime_ns, problem, event)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        with self._transaction() as connection:
            connection.executemany(insert, rows)

    def oldest(self, most: int) -> list[Spooled]:
        """Give the events that have waited longest."""
        query = "SELECT id, event, root, folder, name FROM spool ORDER BY id LIMIT ?"
        with self._turn() as connection:
            rows = connection.execute(query, (most,)).fetchall()
        return [_spooled(row_id, event, FileKey(*map(os.fsdecode, key))) for row_id, event, *key in rows]

    def mark_published(self, rows: Sequence[Spooled], epoch: str) -> None:
        """Move rows from the spool to the journal; one that was replaced meanwhile stays in the spool."""
        ids = [(row.row_id,) for row in rows]
        copy = (
            "INSERT OR REPLACE INTO published"
            " SELECT root, folder, name, size, mtime_ns, ctime_ns, problem, ?, NULL FROM spool WHERE id = ?"
        )
        with self._transaction() as connection:
            connection.executemany(copy, [(epoch, *row_id) for row_id in ids])
            connection.executemany("DELETE FROM spool WHERE id = ?", ids)

    def forget_spooled(self, rows: Sequence[Spooled]) -> None:
        """Drop rows from the spool, and their files from the journal: the next scan sees them as new."""
        ids = [(row.row_id,) for row in rows]
        unsay = (
            "DELETE FROM published WHERE (root, folder, name) IN"
            " (SELECT root, folder, name FROM spool WHERE id = ?)"
        )
        with self._transaction() as connection:
            connection.executemany(unsay, ids)
            connection.executemany("DELETE FROM spool WHERE id = ?", ids)

    def note_gone(self, root: str, folder: str, names: Iterable[str], now: datetime) -> None:
        """Write down that files are not there; a mount that comes back brings them again, as known."""
        self._note(_seconds(now), root, folder, names)

    def note_back(self, root: str, folder: str, names: Iterable[str]) -> None:
        """Write down that files which were gone are there."""
        self._note(None, root, folder, names)

    def note_folder_gone(self, root: str, folder: str, now: datetime) -> None:
        """Write down that a folder, and with it all its files, is not there."""
        change = "UPDATE published SET gone_since = ? WHERE root = ? AND folder = ? AND gone_since IS NULL"
        with self._transaction() as connection:
            connection.execute(change, (_seconds(now), _blob(root), _blob(folder)))

    def forget_gone(self, now: datetime) -> None:
        """Drop from the journal what has been gone for long, so that it does not grow for ever."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM published WHERE gone_since <= ?", (_seconds(now - FORGET_AFTER),))

    def forget_other_roots(self, roots: Iterable[str]) -> None:
        """Drop from the journal what belongs to roots that are no longer configured."""
        kept = {_blob(root) for root in roots}
        with self._transaction() as connection:
            for table in ("published", "place"):
                found = connection.execute(f"SELECT DISTINCT root FROM {table}").fetchall()  # noqa: S608 - constants
                gone = [(root,) for (root,) in found if root not in kept]
                connection.executemany(f"DELETE FROM {table} WHERE root = ?", gone)  # noqa: S608 - constants

    def figures(self, root: str, epoch: str | None) -> Figures:
        """Count the files of a root; published are those that the stream of ``epoch`` has."""
        with self._turn() as connection:
            row = connection.execute(_FIGURES, {"root": _blob(root), "epoch": epoch}).fetchone()
        return Figures(*row)

    def _note(self, gone_since: int | None, root: str, folder: str, names: Iterable[str]) -> None:
        rows = [(gone_since, _blob(root), _blob(folder), _blob(name)) for name in names]
        change = f"UPDATE published SET gone_since = ? WHERE {_FILE}"  # noqa: S608 - a constant
        with self._transaction() as connection:
            connection.executemany(change, rows)

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        with self._around(), self._lock:
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


def _check_place(file: Path) -> None:
    kind = file_system_of(file.parent)
    if is_network_file_system(kind):
        raise ConfigurationError(
            f"{file} lies on a network file system ({kind}), where SQLite's locks do not hold: "
            "put data_dir on a local disk"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"data_dir: {file.parent} cannot be made ({error.strerror})") from error


def _open(file: Path) -> sqlite3.Connection:
    try:
        return _connect(file)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:  # a start later it may be there: the file is right
            raise TransientError(f"{file} cannot be opened: its disk is full") from error
        raise ConfigurationError(f"data_dir: {file} cannot be opened ({error})") from error
    except sqlite3.DatabaseError as error:
        _set_aside(file, str(error))
        return _connect(file)


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a kill loses nothing; a power cut only what is found again
        _check_version(connection)
        connection.executescript(f"{_SCHEMA}; PRAGMA user_version = {_SCHEMA_VERSION};")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, _SCHEMA_VERSION}:
        raise sqlite3.DatabaseError(f"its schema is version {version}, not {_SCHEMA_VERSION}")


def _set_aside(file: Path, problem: str) -> None:
    aside = file.with_suffix(".unreadable")  # one is kept, so that they cannot fill the disk
    _log.error(
        "the journal cannot be used: it is set aside and built anew", problem=problem, aside=str(aside)
    )
    file.replace(aside)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _spooled(row_id: int, event: str, key: FileKey) -> Spooled:
    return Spooled(row_id, key.root, key.path, event)


def _known(row: Sequence[Any]) -> Known:
    size, mtime_ns, ctime_ns, problem, epoch, is_gone = row
    return Known(Stamp(size, mtime_ns, ctime_ns), problem, epoch, bool(is_gone))


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _blob(name: str) -> bytes:
    return os.fsencode(name)


def _blobs(key: FileKey) -> tuple[bytes, bytes, bytes]:
    return _blob(key.root), _blob(key.folder), _blob(key.name)


def _numbers(stamp: Stamp) -> tuple[int, int, int]:
    return stamp.size_bytes, stamp.modified_ns, stamp.changed_ns
