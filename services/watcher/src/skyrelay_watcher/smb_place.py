"""A folder of a share that is mounted nowhere: listings are the truth, the server's notices a hint."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Any, NamedTuple, TypeVar

from smbprotocol.exceptions import (
    AccessDenied,
    NoMoreFiles,
    NoSuchFile,
    ObjectNameNotFound,
    ObjectPathNotFound,
    SharingViolation,
    SMBException,
    SMBResponseException,
    StatusNotADirectory,
)
from smbprotocol.file_info import FileInformationClass
from smbprotocol.header import NtStatus
from smbprotocol.open import (
    CreateOptions,
    DirectoryAccessMask,
    FileAttributes,
    FilePipePrinterAccessMask,
    QueryDirectoryFlags,
)

from skyrelay.logs import get_logger
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.paths import is_safe_name
from skyrelay.seestar.smb_tree import GuestTree, NoSuchShare
from skyrelay.smb_path import SmbPath
from skyrelay_watcher.fits_look import Look, Stamp, is_fits_name, judge
from skyrelay_watcher.places import Entry, Hints, Kind, Listener, Mark, PlaceLost
from skyrelay_watcher.smb_notices import SmbNotices

_log = get_logger(__name__)

CONNECT = timedelta(seconds=5)
OPERATION = timedelta(seconds=15)  # one request and its answer, on a weak Wi-Fi
_RETRY_S = 10.0  # a share that is away is asked for no more often: connecting holds up nothing but its root
_READ = FilePipePrinterAccessMask.FILE_READ_DATA | FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
_LIST = DirectoryAccessMask.FILE_LIST_DIRECTORY | DirectoryAccessMask.FILE_READ_ATTRIBUTES
_DOTS = frozenset({".", ".."})
_FOLLOWED = 8  # folders, those that changed last: a telescope writes into one at a time
_MOST_ENTRIES = 200_000  # a listing without end is not followed
_FILE_ONLY = CreateOptions.FILE_NON_DIRECTORY_FILE
_NOT_THERE = (ObjectNameNotFound, ObjectPathNotFound, NoSuchFile, StatusNotADirectory)
# Answers about the session or the share, not about the file that was asked for.
_LOST = frozenset(
    {
        NtStatus.STATUS_USER_SESSION_DELETED,
        0xC00000C9,  # STATUS_NETWORK_NAME_DELETED (MS-ERREF 2.3.1): the share was taken away
        0xC000035C,  # STATUS_NETWORK_SESSION_EXPIRED
        NtStatus.STATUS_BAD_NETWORK_NAME,
    }
)
# What smbprotocol lets through, beside its own errors, when a server vanishes or talks nonsense.
FAULTS = (NoSuchShare, SMBException, OSError, ValueError, KeyError, TypeError, OverflowError, struct.error)
_ENTRIES = FileInformationClass.FILE_ID_FULL_DIRECTORY_INFORMATION
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_OTHER = Entry("", Kind.OTHER)

T = TypeVar("T")


class SmbPlace:
    """One connection to a share, as long as it stands.

    Parameters
    ----------
    path
        The folder.
    listens
        Whether the server is asked for notices.
    """

    def __init__(self, path: SmbPath, *, listens: bool) -> None:
        self._path, self._listens = path, listens
        self._ids: dict[str, int] = {}  # of folders; 0 where the server tells none
        self._times: dict[str, int] = {}  # of folders
        self._notices: SmbNotices | None = None
        self._tree = _Tree(path.host, path.port, (path.share,), Deadline.after(CONNECT), OPERATION)

    @property
    def top(self) -> str:
        """The share's address."""
        return str(self._path)

    @property
    def backend(self) -> str:
        """Say that no mount is involved."""
        return "smb"

    @property
    def identity(self) -> str | None:
        """A share has no name that lasts."""
        return None

    @property
    def lists_often(self) -> bool:
        """Notices are a hint only."""
        return True

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as has been noticed."""
        return self._tree.connected

    def close(self) -> None:
        """Let go of the connection."""
        self._tree.abandon()

    def is_empty(self) -> bool:
        """Tell whether there is nothing at all in it."""
        return self._ask(lambda: not self._tree.has_entries(self._path.in_share()))

    def mark(self, folder: str) -> Mark:
        """Give the folder's mark; SMB tells no inode, so its time alone counts."""
        modified_ns = self._ask(lambda: self._tree.folder_time(self._path.in_share(folder)))
        if self._notices is not None and self._times.get(folder) != modified_ns:
            self._times[folder] = modified_ns
            self._notices.follow(nlargest(_FOLLOWED, self._times, key=self._times.__getitem__))
        return Mark(0, 0, modified_ns)

    def entries(self, folder: str) -> Iterator[Entry]:
        """List a folder; names that are no plain ones, and folders that lead back up, are left out.

        A server shows a symbolic link as the folder that it leads to.
        """
        listed = self._ask(lambda: list(self._tree.listed(self._path.in_share(folder))))
        above = {self._ids.get(place) for place in _with_parents(folder)}
        above |= {found.file_id for found in listed if found.name == "."}
        for found in listed:
            if is_safe_name(found.name) and not (found.file_id and found.file_id in above):
                if found.is_folder:
                    self._ids[f"{folder}/{found.name}" if folder else found.name] = found.file_id
                yield _entry(found)
            elif found.name == ".":
                self._ids[folder] = found.file_id

    def stamp(self, path: str) -> Stamp | None:
        """Give the stamp of the file at ``path``."""
        try:
            return self._ask(lambda: self._tree.stamp(self._file(path)))
        except OSError:
            return None

    def look(self, path: str) -> Look | None:
        """Look at a file."""
        try:
            return self._ask(lambda: self._tree.look(self._file(path)))
        except FileNotFoundError:
            return None
        except OSError as error:
            stamp = self.stamp(path) or Stamp(0, 0, 0)
            return Look(stamp, problem=f"the file cannot be read: {error.strerror}", may_pass=True)

    def listen(self, hints: Hints, *, recursive: bool) -> Listener | None:
        """Ask the server for notices, over a connection of their own."""
        if not self._listens:
            return None
        notices = SmbNotices(self._path, on_change=hints.on_change, recursive=recursive)
        notices.start()
        self._notices = notices
        return notices

    def _file(self, path: str) -> str:
        return self._path.in_share(path[len(self.top) + 1 :])

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except _NOT_THERE as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such file or folder") from error
        except (AccessDenied, SharingViolation) as error:
            raise PermissionError(errno.EACCES, "the server does not let guests read it") from error
        except SMBResponseException as error:
            if error.status in _LOST:
                self.close()
                raise PlaceLost(str(error)) from error
            raise OSError(errno.EIO, f"the server answers {error}") from error
        except FAULTS as error:
            self.close()
            raise PlaceLost(str(error)) from error


class SmbSource:
    """Connects to a share, again and again.

    Parameters
    ----------
    path
        The folder.
    backend
        ``snapshot``: listings alone; else the server's notices too.
    retry_s
        How long to wait before the next try.
    """

    def __init__(self, path: SmbPath, backend: str, *, retry_s: float = _RETRY_S) -> None:
        self._path, self._listens = path, backend != "snapshot"
        self._retry_s, self._next_s = retry_s, time.monotonic()
        self._place: SmbPlace | None = None

    def find(self) -> SmbPlace | None:
        """Give the connection that stands, or a new one; `None` while there is none to be had."""
        if self._place is not None and self._place.connected:
            return self._place
        self.close()
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._retry_s
            self._place = self._connect()
        return self._place

    def close(self) -> None:
        """Let go of the connection."""
        place, self._place = self._place, None
        if place is not None:
            place.close()

    def _connect(self) -> SmbPlace | None:
        try:
            place = SmbPlace(self._path, listens=self._listens)
        except FAULTS as error:
            _log.debug("a share does not answer", root=str(self._path), problem=str(error))
            return None
        try:
            place.mark("")
        except (OSError, PlaceLost):
            place.close()
            return None
        return place


class _Tree(GuestTree):
    """The share, as far as watching needs it beyond listings."""

    def has_entries(self, path: str) -> bool:
        """Tell whether the folder at ``path`` holds anything."""
        return any(found.name not in _DOTS for found in self.listed(path))

    def listed(self, path: str) -> Iterator[_Listed]:
        """List a folder, itself (``.``) included."""
        with self._opened_folder(path) as folder, suppress(NoMoreFiles, NoSuchFile):
            flags, count = QueryDirectoryFlags.SMB2_RESTART_SCANS, 0
            while count < _MOST_ENTRIES:
                for fields in folder.query_directory("*", _ENTRIES, flags=flags):
                    count += 1
                    yield _listed(fields)
                flags = 0
            raise SMBException(f"{path} has no end after {count} entries")

    def folder_time(self, path: str) -> int:
        """Give the folder's time of modification."""
        with self._opened_folder(path) as folder:
            return _nanoseconds(folder.last_write_time)

    def stamp(self, path: str) -> Stamp:
        """Give a file's stamp."""
        with self._open(path, FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES, options=_FILE_ONLY) as file:
            return _stamp_of(file)

    def look(self, path: str) -> Look | None:
        """Read a file's header and judge it; `None` when it changed meanwhile."""
        with self._open(path, _READ, options=_FILE_ONLY) as file:
            before = _stamp_of(file)
            look = judge(before, _Reading(file, before.size_bytes).read)
            file.close(get_attributes=True)
            return look if _stamp_of(file).has_same_content(before) else None

    @contextmanager
    def _opened_folder(self, path: str) -> Iterator[Any]:
        with self._open(path, _LIST, options=CreateOptions.FILE_DIRECTORY_FILE) as folder:
            yield folder


class _Reading:
    """Reads on from a file's beginning, as a file object does; never beyond its end (to SMB a fault)."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size, self._at = file, size, 0

    def read(self, size: int) -> bytes:
        length = min(size, self._size - self._at)
        if length <= 0:
            return b""
        data: bytes = self._file.read(self._at, length)
        self._at += len(data)
        return data


class _Listed(NamedTuple):
    name: str
    is_folder: bool
    stamp: Stamp
    file_id: int


def _listed(fields: Any) -> _Listed:
    return _Listed(
        name=fields["file_name"].get_value().decode("utf-16-le", "replace"),
        is_folder=fields["file_attributes"].has_flag(FileAttributes.FILE_ATTRIBUTE_DIRECTORY),
        stamp=Stamp(
            fields["end_of_file"].get_value(), _nanoseconds(fields["last_write_time"].get_value()), 0
        ),
        file_id=fields["file_id"].get_value(),
    )


def _entry(found: _Listed) -> Entry:
    if found.is_folder:
        return Entry(found.name, Kind.FOLDER)
    return Entry(found.name, Kind.FITS, found.stamp) if is_fits_name(found.name) else _OTHER


def _with_parents(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


def _stamp_of(file: Any) -> Stamp:
    return _stamp(file.end_of_file, file.last_write_time)


def _stamp(size: int, modified: object) -> Stamp:
    return Stamp(size, _nanoseconds(modified), 0)


def _nanoseconds(moment: object) -> int:
    """Give a time of SMB's (exact to 100 ns, of which a datetime keeps 1 µs) in ns since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000 if isinstance(moment, datetime) else 0
