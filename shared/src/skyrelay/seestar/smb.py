r"""The telescope's SMB share: complete listings with exact sizes, rename, delete, upload.

Guest access to ``EMMC Images`` (some firmware documents ``Seestar``). Each `SmbShare` has
connections of its own, so that nothing is shared between telescopes, threads or forked processes.
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import smbclient
from smbprotocol.connection import Connection as SmbConnection
from smbprotocol.exceptions import BadNetworkName, SMBConnectionClosed, SMBException, SMBOSError
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from skyrelay.errors import TransientError
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import DeadlinePassed, FileMissing, NameTaken, NoAnswer, ReplyLost, ShareMissing
from skyrelay.seestar.listing import RemoteFile
from skyrelay.seestar.paths import WORKS, checked_name
from skyrelay.seestar.reach import Port

KNOWN_SHARES = ("EMMC Images", "Seestar")
OPERATION = timedelta(seconds=15)  # one request and its answer, on a weak Wi-Fi
CONNECT = timedelta(seconds=5)
_GUEST = "guest"
_UPLOAD_BYTES = 65536  # small enough for the socket's buffer, so that sending does not block without end
_PART = ".part"
# What smbprotocol 1.17 lets through, beside its own errors, when a server vanishes or talks nonsense.
_FAULTS = (SMBException, OSError, ValueError, KeyError, TypeError, struct.error)

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
        self._connections: dict[str, _BoundedConnection] = {}  # smbclient's own cache, keyed host:port
        self._share: str | None = None
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
        return self._read(lambda: [entry.name for entry in self._scan() if entry.is_dir()], WORKS)

    def files(self, folder: str) -> list[RemoteFile]:
        """List a folder's files with exact sizes. Raises as `folders` does, and `NameUnsafe`."""
        checked_name(folder)
        return self._read(
            lambda: [
                RemoteFile(entry.name, entry.smb_info.end_of_file, entry.smb_info.last_write_time)
                for entry in self._scan(folder)
                if not entry.is_dir()
            ],
            f"{WORKS}/{folder}",
        )

    def rename(self, folder: str, old: str, new: str, deadline: Deadline | None = None) -> None:
        """Give a file another name; a file of that name is never replaced.

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
        before = self._names(folder)
        if new.casefold() in {name.casefold() for name in before if name != old}:
            raise NameTaken(f"{self._port.telescope}: {folder} holds a file {new} already")
        if old not in before:
            raise FileMissing(f"{self._port.telescope}: {folder} holds no file {old}")
        source, target = self._unc(folder, old), self._unc(folder, new)
        try:
            self._change(
                lambda: smbclient.rename(source(), target(), **self._login()), f"rename {old}", deadline
            )
        except NoAnswer as lost:
            self._judge(folder, old, new, lost)

    def delete(self, folder: str, name: str, deadline: Deadline | None = None) -> None:
        """Delete a file. Raises as `rename` does."""
        path = self._unc(folder, name)
        try:
            self._change(lambda: smbclient.remove(path(), **self._login()), f"delete {name}", deadline)
        except NoAnswer as lost:
            if name in self._names_after(folder, lost):
                raise

    def upload(self, folder: str, name: str, source: Path, deadline: Deadline | None = None) -> None:
        """Write a file into a folder, under a ``.part`` name until it is whole; raises as `rename` does."""
        if name in self._names(folder):
            raise NameTaken(f"{self._port.telescope}: {folder} holds a file {name} already")
        path = self._unc(folder, name + _PART)
        self._change(lambda: self._write(path(), source), f"upload {name}", deadline)
        self.rename(folder, name + _PART, name, deadline)

    def _write(self, path: str, source: Path) -> None:
        with (
            source.open("rb") as local,
            smbclient.open_file(path, mode="wb", buffering=0, **self._login()) as remote,
        ):
            while data := local.read(_UPLOAD_BYTES):
                remote.write(data)

    def _judge(self, folder: str, old: str, new: str, lost: NoAnswer) -> None:
        """Look whether a rename without an answer was carried out; raise unless it was."""
        names = self._names_after(folder, lost)
        if old in names and new not in names:
            raise lost
        if old in names or new not in names:
            raise ReplyLost(
                f"{self._port.telescope}: cannot tell whether {old} was renamed in {folder}"
            ) from lost

    def _names_after(self, folder: str, lost: NoAnswer) -> set[str]:
        try:
            return self._names(folder)
        except TransientError:
            raise ReplyLost(f"{lost}; whether it was done cannot be seen now") from lost

    def _names(self, folder: str) -> set[str]:
        return {file.name for file in self.files(folder)}

    def _read(self, action: Callable[[], T], what: str) -> T:
        try:
            return self._once(action, what, None)
        except NoAnswer:
            return self._once(action, what, None)

    def _change(self, action: Callable[[], None], what: str, deadline: Deadline | None) -> None:
        self._once(action, what, deadline)

    def _once(self, action: Callable[[], T], what: str, deadline: Deadline | None) -> T:
        with self._lock:
            connection = self._connected(deadline)
            connection.deadline = deadline
            if deadline is not None and deadline.passed:
                raise DeadlinePassed(
                    f"{self._port.telescope}: the time for {what} was over before it was sent"
                )
            try:
                return action()
            except FileNotFoundError as error:
                raise FileMissing(
                    f"{self._port.telescope}: {what}: there is no such file or folder"
                ) from error
            except FileExistsError as error:
                raise NameTaken(f"{self._port.telescope}: {what}: there is a file of that name") from error
            except _FAULTS as error:
                self._drop()
                raise self._fault(what, error) from error

    def _fault(self, what: str, error: Exception) -> TransientError:
        if isinstance(error, SMBOSError):
            return TransientError(
                f"{self._port.telescope}: {what}: SMB answers {error.strerror} ({error.ntstatus:#x})"
            )
        return NoAnswer(f"{self._port.telescope}: {what}: the SMB connection failed ({error})")

    def _connected(self, deadline: Deadline | None) -> _BoundedConnection:
        connection = self._connections.get(self._key)
        if connection is None or not connection.transport.connected:
            self._drop()
            connection = self._open(deadline)
            self._connections[self._key] = connection
        return connection

    def _open(self, deadline: Deadline | None) -> _BoundedConnection:
        within = (deadline or Deadline.after(self._connect_within)).or_after(self._connect_within)
        connection = _BoundedConnection(self._port.host, self._port.number, self._operation_within)
        connection.deadline = deadline
        try:
            connection.connect(timeout=max(within.left_s, 0.001))
            self._share = self._first_share(_guest_session(connection))
        except _FAULTS as error:
            connection.abandon()
            raise self._not_open(error) from error
        except ShareMissing:
            connection.abandon()
            raise
        return connection

    def _not_open(self, error: Exception) -> TransientError | ShareMissing:
        cause = error.__cause__  # smbprotocol wraps the socket's error in a ValueError
        if isinstance(cause, OSError | UnicodeError):
            return self._port.away(cause)
        if isinstance(error, SMBConnectionClosed | OSError):
            return NoAnswer(
                f"{self._port.telescope}: SMB on port {self._port.number} does not answer ({error})"
            )
        if isinstance(error, SMBException) and "timeout" not in str(error):
            return ShareMissing(f"{self._port.telescope}: its SMB server does not let guests in ({error})")
        return NoAnswer(f"{self._port.telescope}: SMB on port {self._port.number} does not answer ({error})")

    def _first_share(self, session: Session) -> str:
        for share in self._candidates:
            try:
                # A guest has no key to verify the negotiation with.
                TreeConnect(session, rf"\\{self._port.host}\{share}").connect(require_secure_negotiate=False)
            except BadNetworkName:
                continue
            return share
        raise ShareMissing(
            f"{self._port.telescope}: its SMB server has no share {' or '.join(self._candidates)}: "
            f"set telescopes[{self._port.telescope}].smb_share"
        )

    def _drop(self) -> None:
        while self._connections:
            _, connection = self._connections.popitem()
            connection.abandon()

    def _scan(self, *components: str) -> Any:
        return smbclient.scandir(self._unc(*components)(), **self._login())

    def _unc(self, *components: str) -> Callable[[], str]:
        """Check the components now, join them once the share's name is known."""
        checked = [checked_name(component) for component in components]
        return lambda: "\\".join([rf"\\{self._port.host}\{self._share}", WORKS, *checked])

    def _login(self) -> dict[str, Any]:
        return {"username": _GUEST, "port": self._port.number, "connection_cache": self._connections}

    @property
    def _key(self) -> str:
        return f"{self._port.host.lower()}:{self._port.number}"  # as smbclient makes it


class _BoundedConnection(SmbConnection):  # type: ignore[misc] # smbprotocol has no types
    """An SMB connection on which no wait is endless (smbprotocol's own have no time-out)."""

    deadline: Deadline | None = None

    def __init__(self, host: str, port: int, operation: timedelta) -> None:
        super().__init__(uuid.uuid4(), host, port, require_signing=False)  # a guest cannot sign
        self._operation_within = operation

    def receive(
        self,
        request: Any,
        wait: bool = True,
        timeout: float | None = None,  # noqa: ARG002 - ours holds, whatever the library asks for
        resolve_symlinks: bool = True,
    ) -> Any:
        """Wait for an answer, at most as long as an operation and the caller's deadline allow."""
        until = Deadline.after(self._operation_within)
        left_s = min(until.left_s, self.deadline.left_s) if self.deadline else until.left_s
        return super().receive(request, wait=wait, timeout=left_s, resolve_symlinks=resolve_symlinks)

    def abandon(self) -> None:
        """Close the socket without the goodbyes, which would be waited for; leaves no thread behind."""
        if self.transport is not None:
            self.disconnect(close=False)


def _guest_session(connection: _BoundedConnection) -> Session:
    session = Session(connection, _GUEST, "", require_encryption=False, auth_protocol="ntlm")
    session.connect()
    return session
