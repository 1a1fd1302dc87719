"""What an SMB server tells of changes (CHANGE_NOTIFY, MS-SMB2 3.3.5.19): in which folder, nothing more.

It is a hint: servers may tell late, too little or nothing at all, and nobody notices when they fall silent.
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from smbprotocol.change_notify import (
    ChangeNotifyFlags,
    CompletionFilter,
    FileNotifyInformation,
    SMB2ChangeNotifyRequest,
    SMB2ChangeNotifyResponse,
)
from smbprotocol.connection import Connection
from smbprotocol.exceptions import NotifyEnumDir, ObjectNameNotFound, ObjectPathNotFound, SMBException
from smbprotocol.header import NtStatus
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    DirectoryAccessMask,
    FileAttributes,
    ImpersonationLevel,
    Open,
    ShareAccess,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from skyrelay.logs import get_logger
from skyrelay.seestar.paths import is_safe_name
from skyrelay.smb_path import SmbPath

_log = get_logger(__name__)

_CONNECT = timedelta(seconds=5)
_GUEST = "guest"
_SHARED = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
_BUFFER_BYTES = 32_768  # some 300 names; when they are more the server says so, and all is looked at
_WANTED = (
    CompletionFilter.FILE_NOTIFY_CHANGE_FILE_NAME
    | CompletionFilter.FILE_NOTIFY_CHANGE_DIR_NAME
    | CompletionFilter.FILE_NOTIFY_CHANGE_SIZE
    | CompletionFilter.FILE_NOTIFY_CHANGE_LAST_WRITE
)
_LOOK_S = 0.2  # how often answers are looked for: one thread waits for several
_JOIN_S = 1.0
_PENDING = NtStatus.STATUS_PENDING
_RETRY_S = 60.0  # some servers have no notices: then listings must do
_FAULTS = (SMBException, OSError, ValueError, KeyError, TypeError, OverflowError, struct.error)


@dataclass(slots=True)
class _Watch:
    """A folder that the server was asked to tell about, and the question that waits for its answer."""

    opened: Any
    flags: int
    request: Any


class SmbNotices:
    """A connection and a thread that wait for the server to say something.

    Parameters
    ----------
    path
        The root.
    on_change
        Told the path of each folder in which something happened; the root's own when that is all we know.
    recursive
        Whether folders below count. Of what is written into those by the telescope itself, not through
        its share, Samba tells only who asks for that very folder: see `follow`.
    """

    def __init__(self, path: SmbPath, *, on_change: Callable[[str], None], recursive: bool) -> None:
        self._path, self._on_change = path, on_change
        self._flags = ChangeNotifyFlags.SMB2_WATCH_TREE if recursive else ChangeNotifyFlags.NONE
        self._wanted: frozenset[str] = frozenset()
        self._connection: Connection | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notices:{path.host}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether notices can still come."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def follow(self, folders: Iterable[str]) -> None:
        """Ask for notices of these folders (relative to the root), the few that are likeliest to change."""
        self._wanted = frozenset(folders)

    def stop(self) -> None:
        """Close the connection, which ends the waiting."""
        self._stopping.set()
        self._hang_up()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear()
            except _FAULTS as error:
                _log.debug("a server gives no notices", root=str(self._path), problem=str(error))
            self._hang_up()
            self._stopping.wait(_RETRY_S)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.transport is not None:
            connection.disconnect(close=False)

    def _hear(self) -> None:
        tree = self._connect()
        top = {"": self._watch(tree, "", self._flags), None: self._watch(tree, "", ChangeNotifyFlags.NONE)}
        followed: dict[str | None, _Watch] = {}
        while not self._stopping.wait(_LOOK_S):
            self._follow(tree, followed)
            for folder, watch in (*top.items(), *followed.items()):
                self._listen(folder or "", watch)

    def _follow(self, tree: Any, followed: dict[str | None, _Watch]) -> None:
        wanted = self._wanted - {""}
        for folder in followed.keys() - wanted:
            followed.pop(folder).opened.close()
        for folder in wanted - followed.keys():
            try:
                followed[folder] = self._watch(tree, folder, ChangeNotifyFlags.NONE)
            except (ObjectNameNotFound, ObjectPathNotFound):
                self._wanted -= {folder}  # the next listing tells

    def _listen(self, folder: str, watch: _Watch) -> None:
        if not _is_answered(watch.request):
            return
        for changed in self._take(folder, watch):
            self._on_change(changed)
        watch.request = _order(watch)

    def _take(self, folder: str, watch: _Watch) -> set[str]:
        """Give the paths of the folders that an answer is about."""
        try:
            response = watch.opened.connection.receive(watch.request)
        except NotifyEnumDir:  # more than fits
            return {str(self._path)}
        answer = SMB2ChangeNotifyResponse()
        answer.unpack(response["data"].get_value())
        return {self._folder_of(folder, name) for name in _names(answer["buffer"].get_value())}

    def _folder_of(self, folder: str, name: str) -> str:
        *folders, _name = name.split("\\")
        if not all(is_safe_name(below) for below in folders):
            return str(self._path)
        return "/".join(part for part in (str(self._path), folder, *folders) if part)

    def _connect(self) -> Any:
        connection = Connection(uuid.uuid4(), self._path.host, self._path.port, require_signing=False)
        self._connection = connection
        connection.connect(timeout=_CONNECT.total_seconds())
        session = Session(connection, _GUEST, "", require_encryption=False, auth_protocol="ntlm")
        session.connect()
        tree = TreeConnect(session, rf"\\{self._path.host}\{self._path.share}")
        tree.connect(require_secure_negotiate=False)  # a guest has no key to verify it with
        return tree

    def _watch(self, tree: Any, folder: str, flags: int) -> _Watch:
        opened = Open(tree, self._path.in_share(folder))
        opened.create(
            ImpersonationLevel.Impersonation,
            DirectoryAccessMask.FILE_LIST_DIRECTORY | DirectoryAccessMask.FILE_READ_ATTRIBUTES,
            FileAttributes.FILE_ATTRIBUTE_NORMAL,
            _SHARED,
            CreateDisposition.FILE_OPEN,
            CreateOptions.FILE_DIRECTORY_FILE,
        )
        watch = _Watch(opened, flags, None)
        watch.request = _order(watch)
        return watch


def _order(watch: _Watch) -> Any:
    """Ask for the next notice; smbprotocol's own watcher would start a thread for each."""
    order = SMB2ChangeNotifyRequest()
    order["flags"], order["output_buffer_length"] = watch.flags, _BUFFER_BYTES
    order["file_id"], order["completion_filter"] = watch.opened.file_id, _WANTED
    tree = watch.opened.tree_connect
    return watch.opened.connection.send(order, tree.session.session_id, tree.tree_connect_id)


def _is_answered(request: Any) -> bool:
    """Tell whether more than "wait" has come; also when the connection ended, which `receive` then says."""
    with request.response_event_lock:
        if not request.response_event.is_set():
            return False
        waits = request.response is not None and request.response["status"].get_value() == _PENDING
        if waits:
            request.response_event.clear()
        return not waits


def _names(buffer: bytes) -> Iterator[str]:
    at = 0
    while at < len(buffer):
        notice = FileNotifyInformation()
        notice.unpack(buffer[at:])
        yield str(notice["file_name"].get_value())
        step = notice["next_entry_offset"].get_value()
        at = at + step if step else len(buffer)
