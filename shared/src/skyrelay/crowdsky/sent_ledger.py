"""What a script or a command has sent, remembered on disk.

The server lists a stack only after its post-processing, which may take hours: whoever knows nothing but
that list sends everything again meanwhile. (The services keep their books in the database, see the
deliveries outbox; scripts run without one.)
"""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skyrelay.crowdsky.body import Progress
from skyrelay.crowdsky.errors import may_have_arrived
from skyrelay.errors import RefusedByRule, SkyrelayError, TransientError

_FILE, _LOCK = "crowdsky-sent.sqlite3", "crowdsky-sent.lock"
_BUSY_S = 30.0
_TABLE = """CREATE TABLE IF NOT EXISTS sent (
    account TEXT NOT NULL, fingerprint TEXT NOT NULL, sent_at TEXT NOT NULL, accepted INTEGER NOT NULL,
    PRIMARY KEY (account, fingerprint))"""


class UploadRunning(RefusedByRule):
    """Another process is uploading from the same data folder: the two would send the same twice."""


@dataclass(frozen=True, slots=True)
class Sent:
    """That a file was sent.

    Attributes
    ----------
    at
        Aware time.
    accepted
        Whether the server said that it took it; else its answer never came.
    """

    at: datetime
    accepted: bool


class Watched:
    """Passes a file's progress on, and knows whether the server may have the whole of it.

    Parameters
    ----------
    shown
        What shows the progress, if anything does.
    """

    def __init__(self, shown: Progress | None) -> None:
        self._shown = shown
        self.all_sent = False

    def __call__(self, done: int, whole: int | None) -> None:
        """Take note that so many bytes of the whole are sent."""
        self.all_sent = done == whole
        if self._shown is not None:
            self._shown(done, whole)


class SentLedger:
    """The memory of one account.

    Parameters
    ----------
    folder
        Where it is kept; made when there is something to be written.
    base_url, username
        The account. Only a hash of them is written.

    Raises
    ------
    TransientError
        From each method, if the folder cannot be read or written.
    """

    def __init__(self, folder: Path, base_url: str, username: str) -> None:
        self._folder = folder
        self._account = hashlib.sha256(f"{base_url}\n{username}".encode()).hexdigest()[:16]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from uploading meanwhile.

        Raises
        ------
        UploadRunning
            If one is.
        """
        with self._disk():
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / _LOCK).open("ab")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UploadRunning(
                    f"another upload is running in {self._folder}: wait for its end"
                ) from error
            yield

    def find(self, fingerprint: str) -> Sent | None:
        """Tell whether a file was sent."""
        if not (self._folder / _FILE).exists():
            return None
        question = "SELECT sent_at, accepted FROM sent WHERE account = ? AND fingerprint = ?"
        with self._opened() as database:
            row = database.execute(question, (self._account, fingerprint)).fetchone()
        return None if row is None else Sent(datetime.fromisoformat(row[0]), bool(row[1]))

    def find_like(self, beginning: str) -> tuple[str, Sent] | None:
        """Give what was sent last of all whose fingerprints begin so, and its fingerprint."""
        if not (self._folder / _FILE).exists():
            return None
        question = (
            "SELECT fingerprint, sent_at, accepted FROM sent "
            "WHERE account = ? AND substr(fingerprint, 1, ?) = ? ORDER BY sent_at DESC LIMIT 1"
        )
        with self._opened() as database:
            row = database.execute(question, (self._account, len(beginning), beginning)).fetchone()
        return None if row is None else (row[0], Sent(datetime.fromisoformat(row[1]), bool(row[2])))

    def begin(self, fingerprint: str, now: datetime) -> None:
        """Write down, before the first byte leaves, that a file is being sent."""
        self._write(fingerprint, now, accepted=False)

    def accept(self, fingerprint: str, now: datetime) -> None:
        """Write down that the server took it."""
        self._write(fingerprint, now, accepted=True)

    def forget(self, fingerprint: str) -> None:
        """Write down that the server surely did not take it."""
        with self._opened() as database:
            values = (self._account, fingerprint)
            database.execute("DELETE FROM sent WHERE account = ? AND fingerprint = ?", values)

    @contextmanager
    def sending(self, fingerprint: str, clock: Callable[[], datetime], progress: Watched) -> Iterator[None]:
        """Keep the memory of a file true while it is sent in the ``with``.

        When that ends well the server took the file. When it raises what says that the server may have it
        all the same (`may_have_arrived`), it counts as sent without an answer; else as it did before.
        """
        before = self.find(fingerprint)
        self.begin(fingerprint, clock())
        try:
            yield
        except (KeyboardInterrupt, SkyrelayError) as error:
            is_unsure = may_have_arrived(error) if isinstance(error, SkyrelayError) else progress.all_sent
            if not is_unsure:
                self._restore(fingerprint, before)
            raise
        self.accept(fingerprint, clock())

    def _restore(self, fingerprint: str, before: Sent | None) -> None:
        if before is None:
            self.forget(fingerprint)
        else:
            self._write(fingerprint, before.at, accepted=before.accepted)

    def _write(self, fingerprint: str, now: datetime, *, accepted: bool) -> None:
        with self._opened() as database:
            values = (self._account, fingerprint, now.isoformat(), int(accepted))
            database.execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?)", values)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._disk():
            self._folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._folder / _FILE, timeout=_BUSY_S)) as database, database:
                database.execute(_TABLE)
                yield database

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise TransientError(
                f"{self._folder} cannot hold the memory of what was sent ({error}): set data_dir"
            ) from error
