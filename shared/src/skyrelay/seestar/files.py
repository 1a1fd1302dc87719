"""The files of a telescope by whichever way answers: SMB, HTTP, and RPC for listings at last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from skyrelay.errors import AmbiguousError, PermanentError, RefusedByRule, TransientError
from skyrelay.logs import get_logger
from skyrelay.seestar.connection import Connection
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import ShareMissing
from skyrelay.seestar.listing import FileListing, FolderListing, Route, file_listing, folder_listing
from skyrelay.seestar.paths import checked_name
from skyrelay.seestar.rpc_listing import list_files, list_folders
from skyrelay.seestar.smb import SmbShare

_COMPANIONS = (".jpg", "_thn.jpg")  # what the telescope lays beside a FITS file, after its stem

_log = get_logger(__name__)
Listing = TypeVar("Listing", FileListing, FolderListing)


@dataclass(frozen=True, slots=True)
class Renamed:
    """A renamed stack: the companions that followed, and those that kept their old names."""

    name: str
    companions: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()


class TelescopeFiles:
    """Lists and changes what lies in ``MyWorks``.

    Parameters
    ----------
    share, connection
        The ways there; neither is opened before it is needed.
    """

    def __init__(self, share: SmbShare, connection: Connection) -> None:
        self._share = share
        self._connection = connection
        self._rpc_listing = threading.Lock()  # the telescope has one cursor for all listings

    def folders(self, *, allow_rpc: bool) -> FolderListing:
        """Name the targets' folders; see `Telescope.list_targets_folders`."""
        return self._by_either_way(
            lambda: folder_listing(self._share.folders(), Route.SMB),
            lambda: list_folders(self._connection),
            allow_rpc=allow_rpc,
        )

    def files(self, folder: str, *, allow_rpc: bool) -> FileListing:
        """List a folder; see `Telescope.list_folder`."""
        checked_name(folder)
        return self._by_either_way(
            lambda: file_listing(folder, self._share.files(folder), Route.SMB),
            lambda: list_files(self._connection, folder),
            allow_rpc=allow_rpc,
        )

    def rename(self, folder: str, old: str, new: str, deadline: Deadline | None = None) -> Renamed:
        """Rename a FITS file, then its companions as far as it goes; see `Telescope.rename`."""
        names = self._share.names(folder)
        self._share.rename(folder, old, new, deadline, among=names)
        followed, left_behind = [], []
        for suffix in _COMPANIONS:
            companion, renamed = PurePosixPath(old).stem + suffix, PurePosixPath(new).stem + suffix
            if self._follow(folder, companion, renamed, deadline, names):
                followed.append(companion)
            else:
                left_behind.append(companion)
        return Renamed(new, tuple(followed), tuple(left_behind))

    def delete(self, folder: str, name: str, deadline: Deadline | None = None) -> None:
        """Delete a file."""
        self._share.delete(folder, name, deadline)

    def upload(self, folder: str, name: str, source: Path, deadline: Deadline | None = None) -> None:
        """Write a file into an existing folder."""
        self._share.upload(folder, name, source, deadline)

    def close(self) -> None:
        """Close the share's connection."""
        self._share.close()

    def _by_either_way(
        self, smb: Callable[[], Listing], rpc: Callable[[], Listing], *, allow_rpc: bool
    ) -> Listing:
        try:
            return smb()
        except (TransientError, ShareMissing) as error:
            if not allow_rpc:
                raise
            _log.info("listing over RPC", telescope=self._connection.name, reason=str(error))
            with self._rpc_listing:
                return rpc()

    def _follow(
        self, folder: str, old: str, new: str, deadline: Deadline | None, names: frozenset[str]
    ) -> bool:
        try:
            self._share.rename(folder, old, new, deadline, among=names)
        except (TransientError, PermanentError, AmbiguousError, RefusedByRule) as error:
            _log.info("companion keeps its name", folder=folder, file=old, reason=str(error))
            return False
        return True
