r"""The telescope's SMB share: complete listings with exact sizes, rename, delete, upload.

Guest access to ``EMMC Images`` (some firmware documents ``Seestar``). Each `SmbShare` has
connections of its own, so that nothing is shared between telescopes, threads or forked processes.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from smbprotocol.exceptions import (
    ObjectNameCollision,
    ObjectNameNotFound,
    ObjectPathNotFound,
    SMBAuthenticationError,
    SMBException,
    SMBResponseException,
    StatusNotADirectory,
)

from skyrelay.errors import TransientError
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import DeadlinePassed, FileMissing, NameTaken, NoAnswer, ReplyLost, ShareMissing
from skyrelay.seestar.listing import RemoteFile
from skyrelay.seestar.paths import WORKS, checked_name
from skyrelay.seestar.reach import Port, addresses_of
from skyrelay.seestar.smb_tree import GuestTree, NoSuchShare

KNOWN_SHARES = ("EMMC Images", "Seestar")
OPERATION = timedelta(seconds=15)  # one request and its answer, on a weak Wi-Fi
CONNECT = timedelta(seconds=5)
_UPLOAD_BYTES = 65536  # small enough for the socket's buffer, so that sending does not block without end
_PART = ".part"
# What smbprotocol 1.17 lets through, beside its own errors, when a server vanishes or talks nonsense.
_FAULTS = (SMBException, OSError, ValueError, KeyError, TypeError, OverflowError, struct.error)
_NOT_THERE = (ObjectNameNotFound, ObjectPathNotFound, StatusNotADirectory)

T = TypeVar("T")


class SmbShare:
    """The share of one telescope. Threads may share it; their requests go one after the other.

    Parameters
    ----------
    host, port
        The telescope's address.
    share
        The share's name; ``auto`` tries the known ones.
    name
        What the configuration calls the telescope.
    connect, operation
        How long to wait for the connection, and for each request's answer.
    """

    def __init__(
        self,
        host: str,
        port: int = 445,
        share: str = "auto",
        *,
        name: str = "",
        connect: timedelta = CONNECT,
        operation: timedelta = OPERATION,
    ) -> None:
        self._port = Port(name or host, host, port, "smb_port")
        self._candidates = KNOWN_SHARES if share == "auto" else (share,)
        self._connect_within, self._operation_within = connect, operation
        self._tree: GuestTree | None = None
        self._lock = threading.RLock()

    def close(self) -> None:
        """End the connection; the next call would open another."""
        with self._lock:
            self._drop()

    def folders(self) -> list[str]:
        """Name the folders of all targets.

        Raises
        ------
        Unreachable, ShareMissing, FileMissing, TransientError
            A listing that could not be made is never an empty one.
        """
        entries = self._read(lambda tree: tree.entries(WORKS), WORKS)
        return [entry.name for entry in entries if entry.is_folder]

    def files(self, folder: str) -> list[RemoteFile]:
        """List a folder's files with exact sizes. Raises as `folders` does, and `NameUnsafe`."""
        path = _path(folder)
        entries = self._read(lambda tree: tree.entries(path), path)
        return [
            RemoteFile(entry.name, entry.size_bytes, entry.modified)
            for entry in entries
            if not entry.is_folder
        ]

    def names(self, folder: str) -> frozenset[str]:
        """Name a folder's files. Raises as `files` does."""
        return frozenset(file.name for file in self.files(folder))

    def rename(
        self,
        folder: str,
        old: str,
        new: str,
        deadline: Deadline | None = None,
        *,
        among: frozenset[str] | None = None,
    ) -> None:
        """Give a file another name; a file of that name is never replaced.

        Parameters
        ----------
        among
            The folder's names, where they were listed just before: a listing of thousands of files is not
            made again for each of a stack's pictures. The server refuses what has come in between.

        Raises
        ------
        NameTaken
            If there is a file of the new name (in any case of letters: SMB sees no difference).
        FileMissing
            If there is none of the old name.
        ReplyLost
            If it may have been done and the folder could not be looked at afterwards.
        Unreachable, ShareMissing, DeadlinePassed, TransientError
            If it was not done.
        """
        before = self.names(folder) if among is None else among
        if new.casefold() in {name.casefold() for name in before if name != old}:
            raise NameTaken(f"{self._port.telescope}: {folder} holds a file {new} already")
        if old not in before:
            raise FileMissing(f"{self._port.telescope}: {folder} holds no file {old}")
        source, target = _path(folder, old), _path(folder, new)
        try:
            self._once(lambda tree: tree.rename(source, target), f"rename {old}", deadline)
        except NoAnswer as lost:
            self._judge(folder, old, new, lost)

    def delete(self, folder: str, name: str, deadline: Deadline | None = None) -> None:
        """Delete a file. Raises as `rename` does."""
        path = _path(folder, name)
        try:
            self._once(lambda tree: tree.delete(path), f"delete {name}", deadline)
        except NoAnswer as lost:
            if name in self._names_after(folder, lost):
                raise

    def upload(self, folder: str, name: str, source: Path, deadline: Deadline | None = None) -> None:
        """Write a file into a folder, under a ``.part`` name until it is whole; raises as `rename` does."""
        if name in self.names(folder):
            raise NameTaken(f"{self._port.telescope}: {folder} holds a file {name} already")
        path = _path(folder, name + _PART)
        with source.open("rb") as local:
            chunks = iter(lambda: local.read(_UPLOAD_BYTES), b"")
            self._once(lambda tree: tree.write(path, chunks), f"upload {name}", deadline)
        self.rename(folder, name + _PART, name, deadline)

    def _judge(self, folder: str, old: str, new: str, lost: NoAnswer) -> None:
        """Look whether a rename without an answer was carried out; raise unless it was."""
        names = self._names_after(folder, lost)
        if old in names and new not in names:
            raise lost
        if old in names or new not in names:
            raise ReplyLost(
                f"{self._port.telescope}: cannot tell whether {old} was renamed in {folder}"
            ) from lost

    def _names_after(self, folder: str, lost: NoAnswer) -> frozenset[str]:
        try:
            return self.names(folder)
        except TransientError:
            raise ReplyLost(f"{lost}; whether it was done cannot be seen now") from lost

    def _read(self, action: Callable[[GuestTree], T], what: str) -> T:
        try:
            return self._once(action, what, None)
        except NoAnswer:
            return self._once(action, what, None)

    def _once(self, action: Callable[[GuestTree], T], what: str, deadline: Deadline | None) -> T:
        with self._lock:
            tree = self._connected(deadline)
            tree.bound(deadline)
            if deadline is not None and deadline.passed:
                raise DeadlinePassed(
                    f"{self._port.telescope}: the time for {what} was over before it was sent"
                )
            try:
                return action(tree)
            except _NOT_THERE as error:
                raise FileMissing(
                    f"{self._port.telescope}: {what}: there is no such file or folder"
                ) from error
            except ObjectNameCollision as error:
                raise NameTaken(f"{self._port.telescope}: {what}: there is a file of that name") from error
            except _FAULTS as error:
                self._drop()
                raise self._fault(what, error) from error

    def _fault(self, what: str, error: Exception) -> TransientError:
        if isinstance(error, SMBResponseException):
            return TransientError(f"{self._port.telescope}: {what}: SMB answers {error}")
        return NoAnswer(f"{self._port.telescope}: {what}: the SMB connection failed ({error})")

    def _connected(self, deadline: Deadline | None) -> GuestTree:
        if self._tree is None or not self._tree.connected:
            self._drop()
            self._tree = self._connect(deadline)
        return self._tree

    def _connect(self, deadline: Deadline | None) -> GuestTree:
        until = deadline.or_after(self._connect_within) if deadline else Deadline.after(self._connect_within)
        try:
            host = addresses_of(self._port.host, until)[0]
            return GuestTree(host, self._port.number, self._candidates, until, self._operation_within)
        except NoSuchShare as error:
            raise ShareMissing(
                f"{self._port.telescope}: its SMB server has no share {' or '.join(self._candidates)}: "
                f"set telescopes[{self._port.telescope}].smb_share"
            ) from error
        except (SMBResponseException, SMBAuthenticationError) as error:
            raise ShareMissing(
                f"{self._port.telescope}: its SMB server does not let guests in ({error})"
            ) from error
        except _FAULTS as error:  # UnicodeError, of a host that is no name, is a ValueError
            raise self._away(error) from error

    def _away(self, error: Exception) -> TransientError:
        # smbprotocol wraps the socket's error in a ValueError.
        cause = error if isinstance(error, OSError | UnicodeError) else error.__cause__
        if isinstance(cause, OSError | UnicodeError):
            return self._port.away(cause)
        return NoAnswer(f"{self._port.telescope}: SMB on port {self._port.number} does not answer ({error})")

    def _drop(self) -> None:
        tree, self._tree = self._tree, None
        if tree is not None:
            tree.abandon()


def _path(folder: str, *name: str) -> str:
    """Join a path from the share's root, of checked components."""
    return "\\".join([WORKS, *(checked_name(component) for component in (folder, *name))])
