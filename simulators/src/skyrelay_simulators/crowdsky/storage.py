"""What the simulated server keeps: files in a folder, and an SQLite index of them."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from skyrelay_simulators.web.kept_files import KeptFile, KeptFiles

_BUSY_S = 30.0  # how long one request waits for another's transaction
_TABLES = """
CREATE TABLE IF NOT EXISTS stacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, chunk_key TEXT NOT NULL, object_name TEXT,
    telescope_id TEXT, filter_name TEXT, date_obs_start TEXT, date_obs_end TEXT, n_frames_input INTEGER,
    n_frames_aligned INTEGER, total_exptime REAL, ra_deg REAL, dec_deg REAL, file_size_bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL, file_name TEXT NOT NULL, sha256 TEXT NOT NULL, stored_as TEXT NOT NULL,
    thumbnail_as TEXT, listed_at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS raw_sessions (token TEXT PRIMARY KEY, user TEXT NOT NULL, open INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS raw_files (
    token TEXT NOT NULL, file_name TEXT NOT NULL, stored_as TEXT NOT NULL, chunk_key TEXT NOT NULL,
    telescope_id TEXT, PRIMARY KEY (token, file_name));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStack:
    """A stack that the server has: the columns of ``my_stacks`` and what it knows besides.

    Attributes
    ----------
    id
        Number of the stack, and of the job that processes it; 0 before it is kept.
    date_obs_start, date_obs_end, created_at
        UTC as the server's database writes it, ``YYYY-MM-DD HH:MM:SS``.
    file_name
        The name that the sender gave. Never used as a path.
    sha256
        Of the bytes as they arrived.
    stored_as, thumbnail_as
        Names of the files in the server's own folder.
    listed_at_s
        Unix time at which post-processing is done: from then on the stack is listed.
    """

    id: int = 0
    user: str
    chunk_key: str
    object_name: str | None
    telescope_id: str | None
    filter_name: str | None
    date_obs_start: str | None
    date_obs_end: str | None
    n_frames_input: int | None
    n_frames_aligned: int | None
    total_exptime: float | None
    ra_deg: float | None
    dec_deg: float | None
    file_size_bytes: int
    created_at: str
    file_name: str
    sha256: str
    stored_as: str
    thumbnail_as: str | None = None
    listed_at_s: float

    @property
    def is_listed(self) -> bool:
        """Whether post-processing is done."""
        return self.listed_at_s <= time.time()

    def to_json(self) -> dict[str, object]:
        """Give everything, as the control endpoint does."""
        return asdict(self) | {"listed": self.is_listed}

    def to_row(self) -> dict[str, object]:
        """Give the row of ``my_stacks.php``."""
        return {name: value for name, value in asdict(self).items() if name in _LISTED}


_LISTED = frozenset(
    {
        "id",
        "chunk_key",
        "object_name",
        "telescope_id",
        "filter_name",
        "date_obs_start",
        "date_obs_end",
        "n_frames_input",
        "n_frames_aligned",
        "total_exptime",
        "ra_deg",
        "dec_deg",
        "file_size_bytes",
        "created_at",
    }
)
_COLUMNS = tuple(field.name for field in fields(StoredStack) if field.name != "id")


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw frame of a session."""

    file_name: str
    stored_as: str
    chunk_key: str
    telescope_id: str | None


class Storage:
    """Files and index under one folder. Safe to use from several threads; survives the server's end.

    A file is complete before its row is written: whoever sees the row may read the file.
    """

    def __init__(self, folder: Path) -> None:
        self._files = KeptFiles(folder / "files")
        self._index = folder / "crowdsky.sqlite3"
        with self._opened() as database:
            database.executescript(_TABLES)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the index for one transaction; nothing is left open between two."""
        with closing(sqlite3.connect(self._index, timeout=_BUSY_S)) as database, database:
            database.row_factory = sqlite3.Row
            yield database

    def keep_file(self, source: BinaryIO, suffix: str = ".fit") -> KeptFile:
        """Copy what is read from ``source`` into a file with a name of our own."""
        return self._files.keep(source, suffix)

    def path_of(self, stored_as: str) -> Path:
        """Give where a file lies."""
        return self._files.path_of(stored_as)

    def add_stack(self, stack: StoredStack) -> int:
        """Write a stack into the index; give its number."""
        values = asdict(stack)
        marks = ", ".join("?" for _ in _COLUMNS)
        with self._opened() as database:
            cursor = database.execute(
                f"INSERT INTO stacks ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - our own column names
                [values[name] for name in _COLUMNS],
            )
        return cursor.lastrowid or 0

    def stacks(self, user: str | None = None) -> list[StoredStack]:
        """Give all stacks, listed or not, oldest first; those of one user if one is named."""
        with self._opened() as database:
            rows = database.execute("SELECT * FROM stacks ORDER BY id").fetchall()
        return [StoredStack(**row) for row in map(dict, rows) if user in {None, row["user"]}]

    def remove_stack(self, stack: StoredStack) -> None:
        """Take a stack out of the index, and its file away."""
        with self._opened() as database:
            database.execute("DELETE FROM stacks WHERE id = ?", (stack.id,))
        self.path_of(stack.stored_as).unlink(missing_ok=True)

    def list_all_now(self) -> None:
        """End the post-processing of all stacks at once."""
        with self._opened() as database:
            database.execute("UPDATE stacks SET listed_at_s = 0")

    def open_session(self, user: str) -> str:
        """Begin a session of raw frames; give its token."""
        token = uuid.uuid4().hex
        with self._opened() as database:
            database.execute("INSERT INTO raw_sessions VALUES (?, ?, 1)", (token, user))
        return token

    def has_session(self, token: str, user: str) -> bool:
        """Tell whether the user has such a session, and it is open."""
        question = "SELECT 1 FROM raw_sessions WHERE token = ? AND user = ? AND open"
        with self._opened() as database:
            return database.execute(question, (token, user)).fetchone() is not None

    def add_raw_file(self, token: str, raw: RawFile) -> None:
        """Put a raw frame into a session; one of the same name is replaced."""
        values = (token, raw.file_name, raw.stored_as, raw.chunk_key, raw.telescope_id)
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO raw_files VALUES (?, ?, ?, ?, ?)", values)

    def close_session(self, token: str) -> Sequence[RawFile]:
        """End a session; give its frames by name."""
        columns = "file_name, stored_as, chunk_key, telescope_id"
        question = f"SELECT {columns} FROM raw_files WHERE token = ? ORDER BY file_name"  # noqa: S608 - our own columns
        with self._opened() as database:
            database.execute("UPDATE raw_sessions SET open = 0 WHERE token = ?", (token,))
            return [RawFile(**row) for row in map(dict, database.execute(question, (token,)))]


def database_stamp(moment: datetime | None) -> str | None:
    """Write a time as a DATETIME column does: UTC, whole seconds (cut), no zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else None
