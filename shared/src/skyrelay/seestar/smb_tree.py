r"""SMB2 as far as a telescope's share needs it, on smbprotocol's lower layer.

Its `smbclient` is not used: a script of that name, which another package installs beside Python's
own programs, is found first by whatever is started from there. Errors are smbprotocol's.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from smbprotocol.connection import Connection
from smbprotocol.exceptions import BadNetworkName, NoMoreFiles, NoSuchFile, SMBException, SMBResponseException
from smbprotocol.file_info import FileDispositionInformation, FileInformationClass, FileRenameInformation
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    DirectoryAccessMask,
    FileAttributes,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    QueryDirectoryFlags,
    ShareAccess,
    SMB2CloseRequest,
    SMB2QueryDirectoryRequest,
    SMB2QueryDirectoryResponse,
    SMB2SetInfoRequest,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.smb_directory import Entry, read_directory

_GUEST = "guest"
_SHARED = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
_LIST = DirectoryAccessMask.FILE_LIST_DIRECTORY | DirectoryAccessMask.FILE_READ_ATTRIBUTES
_DELETE = FilePipePrinterAccessMask.DELETE | FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
_WRITE = FilePipePrinterAccessMask.FILE_WRITE_DATA | FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
_MAX_ENTRIES = 200_000  # a year of clear nights in one folder: a listing without end is not followed
_CREDITS = 32  # asked for with each request; a server gives as many as it likes
_CREDIT_BYTES = 65536
_THE_ONE_JUST_OPENED = b"\xff" * 16  # a file's id, among requests that are sent together
_LARGEST_ANSWER = 2**18  # some 1,600 entries: small enough for the server to read on while one is read


class GuestTree:
    """A share, connected as guest; one request at a time.

    Parameters
    ----------
    host, port, shares
        Where it is, and its possible names; the first that there is will do.
    connect
        By when the connection must stand.
    operation
        How long one request may take.

    Raises
    ------
    NoSuchShare
        If the server has none of the shares.
    """

    def __init__(
        self, host: str, port: int, shares: Iterable[str], connect: Deadline, operation: timedelta
    ) -> None:
        self._connection = _BoundedConnection(host, port, operation)
        self._unanswered: list[Any] = []  # what is under way and interests nobody any more
        try:
            self._connection.connect(timeout=max(connect.left_s, 0.001))
            self._tree = self._first(host, shares)
        except BaseException:
            self.abandon()
            raise

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as has been noticed."""
        return bool(self._connection.transport.connected)

    def bound(self, deadline: Deadline | None) -> None:
        """Let no later request last beyond ``deadline``."""
        self._connection.deadline = deadline

    def abandon(self) -> None:
        """Close the socket without the goodbyes, which would be waited for; leaves no thread behind."""
        if self._connection.transport is not None:
            self._connection.disconnect(close=False)

    def entries(self, path: str) -> list[Entry]:
        """List a folder: opened and read in one round trip, with two questions under way until its end."""
        self._await_closed()
        opened = Open(self._tree, path)
        asked = self._open_and_query(opened)
        found: list[Entry] = []
        try:
            with suppress(NoMoreFiles, NoSuchFile):  # the two ways to say that this was all
                while len(found) < _MAX_ENTRIES:
                    answer = self._answer(asked.popleft())
                    asked.append(self._send(self._query(opened.file_id)))  # it reads on while we read this
                    found += read_directory(answer)
                raise SMBException(f"{path} has no end after {len(found)} entries")
        finally:
            self._close_later(opened, asked)
        return [entry for entry in found if entry.name not in {".", ".."}]

    def rename(self, old: str, new: str) -> None:
        """Give a file another path; one that is there is not replaced."""
        order = FileRenameInformation()
        order["replace_if_exists"] = False
        order["file_name"] = new
        with self._open(old, _DELETE) as file:
            self._set(file, order)

    def delete(self, path: str) -> None:
        """Delete a file."""
        order = FileDispositionInformation()
        order["delete_pending"] = True
        with self._open(path, _DELETE, options=CreateOptions.FILE_NON_DIRECTORY_FILE) as file:
            self._set(file, order)

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a file, over whatever is there; a chunk is one request."""
        offset = 0
        with self._open(path, _WRITE, CreateDisposition.FILE_OVERWRITE_IF) as file:
            for chunk in chunks:
                file.write(chunk, offset)
                offset += len(chunk)

    def _first(self, host: str, shares: Iterable[str]) -> TreeConnect:
        session = Session(self._connection, _GUEST, "", require_encryption=False, auth_protocol="ntlm")
        session.connect()
        for share in shares:
            tree = TreeConnect(session, rf"\\{host}\{share}")
            with suppress(BadNetworkName):
                tree.connect(require_secure_negotiate=False)  # a guest has no key to verify it with
                return tree
        raise NoSuchShare("none of the shares is there")

    @contextmanager
    def _open(
        self,
        path: str,
        access: int,
        disposition: int = CreateDisposition.FILE_OPEN,
        options: int = 0,
    ) -> Iterator[Any]:
        opened = Open(self._tree, path)
        attributes = FileAttributes.FILE_ATTRIBUTE_NORMAL
        opened.create(ImpersonationLevel.Impersonation, access, attributes, _SHARED, disposition, options)
        try:
            yield opened
        except BaseException:
            with suppress(SMBException, TypeError):  # the first error counts
                opened.close()
            raise
        opened.close()

    def _open_and_query(self, opened: Any) -> deque[Any]:
        """Open a folder and ask twice for entries, all at once; give the questions that are under way."""
        normal, options = FileAttributes.FILE_ATTRIBUTE_NORMAL, CreateOptions.FILE_DIRECTORY_FILE
        create, receive_created = opened.create(
            ImpersonationLevel.Impersonation,
            _LIST,
            normal,
            _SHARED,
            CreateDisposition.FILE_OPEN,
            options,
            send=False,
        )
        first = self._query(_THE_ONE_JUST_OPENED, QueryDirectoryFlags.SMB2_RESTART_SCANS)
        created, *asked = self._connection.send_compound(
            [create, first, self._query(_THE_ONE_JUST_OPENED)], *self._ids, related=True
        )
        try:
            receive_created(created)
        except BaseException:
            self._unanswered += asked
            raise
        return deque(asked)

    def _query(self, file_id: bytes, flags: int = 0) -> Any:
        """Write the question for the next entries, as many as the server lets go at a time."""
        query = SMB2QueryDirectoryRequest()
        query["file_information_class"] = FileInformationClass.FILE_DIRECTORY_INFORMATION
        query["flags"], query["file_id"] = flags, file_id
        query["buffer"] = "*".encode("utf-16-le")
        query["output_buffer_length"] = self._connection.room
        return query

    def _answer(self, request: Any) -> bytes:
        response = SMB2QueryDirectoryResponse()
        response.unpack(self._connection.receive(request)["data"].get_value())
        return bytes(response["buffer"].get_value())

    def _close_later(self, opened: Any, asked: Iterable[Any]) -> None:
        """Close a folder that was only read; nobody waits for that but the next listing."""
        self._tree.session.open_table.pop(opened.file_id, None)
        self._unanswered += asked
        order = SMB2CloseRequest()
        order["file_id"] = opened.file_id
        with suppress(SMBException, OSError, ValueError):  # a dead connection has closed it already
            self._unanswered.append(self._send(order))

    def _await_closed(self) -> None:
        while self._unanswered:
            with suppress(SMBResponseException):  # it is closed, or never was open
                self._connection.receive(self._unanswered.pop())

    @property
    def _ids(self) -> tuple[int, int]:
        return self._tree.session.session_id, self._tree.tree_connect_id

    def _send(self, request: Any) -> Any:
        return self._connection.send(request, *self._ids)

    def _set(self, opened: Any, order: Any) -> None:
        request = SMB2SetInfoRequest()
        request["info_type"], request["file_info_class"] = order.INFO_TYPE, order.INFO_CLASS
        request["file_id"], request["buffer"] = opened.file_id, order
        self._connection.receive(self._send(request))


class NoSuchShare(Exception):  # noqa: N818 - internal, made into ShareMissing by the caller
    """The server has no share of the names asked for."""


class _BoundedConnection(Connection):  # type: ignore[misc] # smbprotocol has no types
    """An SMB connection on which no wait is endless (smbprotocol's own have no time-out)."""

    deadline: Deadline | None = None

    def __init__(self, host: str, port: int, operation: timedelta) -> None:
        super().__init__(uuid.uuid4(), host, port, require_signing=False)  # a guest cannot sign
        self._operation = operation

    @property
    def room(self) -> int:
        """Bytes that each of two answers may have: a credit is good for 64 kB, and two are kept."""
        if not self.supports_multi_credit:
            return _CREDIT_BYTES
        credits_left = int(self.sequence_window["high"]) - int(self.sequence_window["low"]) - 2
        most = min(credits_left // 2 * _CREDIT_BYTES, int(self.max_transact_size), _LARGEST_ANSWER)
        return max(_CREDIT_BYTES, most)

    def send(
        self,
        message: Any,
        sid: int | None = None,
        tid: int | None = None,
        credit_request: int | None = None,
        **options: Any,
    ) -> Any:
        """Send a request, and ask for credits, so that a long listing needs few answers."""
        return super().send(message, sid, tid, credit_request or _CREDITS, **options)

    def receive(
        self,
        request: Any,
        wait: bool = True,
        timeout: float | None = None,  # noqa: ARG002 - ours holds, whatever the library asks for
        resolve_symlinks: bool = True,
    ) -> Any:
        """Wait for an answer, at most as long as an operation and the caller's deadline allow."""
        until = Deadline.after(self._operation)
        left_s = min(until.left_s, self.deadline.left_s) if self.deadline else until.left_s
        return super().receive(request, wait=wait, timeout=left_s, resolve_symlinks=resolve_symlinks)
