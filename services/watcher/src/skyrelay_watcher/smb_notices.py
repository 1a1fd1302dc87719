"""What an SMB server tells of changes (CHANGE_NOTIFY, MS-SMB2 3.3.5.19): in which folder, nothing more.

It is a hint: servers may tell late, too little or nothing at all, and nobody notices when they fall silent.
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Callable, Iterator
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
from smbprotocol.exceptions import NotifyEnumDir, SMBException
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
_JOIN_S = 1.0
_FAULTS = (SMBException, OSError, ValueError, KeyError, TypeError, OverflowError, struct.error)


class SmbNotices:
    """A connection and a thread that wait for the server to say something.

    Parameters
    ----------
    path
        The share.
    folder
        The folder, relative to the share, as SMB writes it.
    on_change
        Told the path of each folder in which something happened; the root's own when that is all we know.
    recursive
        Whether folders below count.
    """

    def __init__(
        self, path: SmbPath, folder: str, *, on_change: Callable[[str], None], recursive: bool
    ) -> None:
        self._path, self._folder, self._on_change = path, folder, on_change
        self._flags = ChangeNotifyFlags.SMB2_WATCH_TREE if recursive else ChangeNotifyFlags.NONE
        self._connection = Connection(uuid.uuid4(), path.host, path.port, require_signing=False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notices:{path.host}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether notices can still come."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connection, which ends the waiting."""
        self._stopping.set()
        if self._connection.transport is not None:
            self._connection.disconnect(close=False)
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            opened = self._open()
            while not self._stopping.is_set():
                for folder in self._await(opened):
                    self._on_change(folder)
        except _FAULTS as error:
            if not self._stopping.is_set():
                _log.debug("a server gives no notices", root=str(self._path), problem=str(error))

    def _open(self) -> Any:
        self._connection.connect(timeout=_CONNECT.total_seconds())
        session = Session(self._connection, _GUEST, "", require_encryption=False, auth_protocol="ntlm")
        session.connect()
        tree = TreeConnect(session, rf"\\{self._path.host}\{self._path.share}")
        tree.connect(require_secure_negotiate=False)  # a guest has no key to verify it with
        opened = Open(tree, self._folder)
        opened.create(
            ImpersonationLevel.Impersonation,
            DirectoryAccessMask.FILE_LIST_DIRECTORY | DirectoryAccessMask.FILE_READ_ATTRIBUTES,
            FileAttributes.FILE_ATTRIBUTE_NORMAL,
            _SHARED,
            CreateDisposition.FILE_OPEN,
            CreateOptions.FILE_DIRECTORY_FILE,
        )
        return opened

    def _await(self, opened: Any) -> set[str]:
        """Wait for the next notice; give the paths of the folders that it is about."""
        # smbprotocol's own watcher starts a thread for each notice.
        order = SMB2ChangeNotifyRequest()
        order["flags"], order["output_buffer_length"] = self._flags, _BUFFER_BYTES
        order["file_id"], order["completion_filter"] = opened.file_id, _WANTED
        tree = opened.tree_connect
        request = self._connection.send(order, tree.session.session_id, tree.tree_connect_id)
        try:
            response = self._connection.receive(request)
        except NotifyEnumDir:  # more than fits
            return {str(self._path)}
        answer = SMB2ChangeNotifyResponse()
        answer.unpack(response["data"].get_value())
        return {self._folder_of(name) for name in _names(answer["buffer"].get_value())}

    def _folder_of(self, name: str) -> str:
        *folders, _name = name.split("\\")
        if not all(is_safe_name(folder) for folder in folders):
            return str(self._path)
        return "/".join((str(self._path), *folders))


def _names(buffer: bytes) -> Iterator[str]:
    at = 0
    while at < len(buffer):
        notice = FileNotifyInformation()
        notice.unpack(buffer[at:])
        yield str(notice["file_name"].get_value())
        step = notice["next_entry_offset"].get_value()
        at = at + step if step else len(buffer)
