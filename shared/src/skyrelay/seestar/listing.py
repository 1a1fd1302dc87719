"""What a listing of the telescope's files says, and by which way it was made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from skyrelay.seestar.paths import is_safe_name


class Route(StrEnum):
    """How a listing was made."""

    SMB = "smb"  # complete, with exact sizes
    RPC = "rpc"  # get_albums leaves folders out (live: 8 of 41), sizes are rounded


@dataclass(frozen=True, slots=True, order=True)
class RemoteFile:
    """A file in a folder of the telescope.

    Attributes
    ----------
    name
        A single safe path component.
    size_bytes
        The exact size; `None` when the route does not tell it.
    modified
        Aware UTC time of the last change, where the route tells it: by the telescope's clock.
    """

    name: str
    size_bytes: int | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class FileListing:
    """All files of one folder; ``odd`` names could not be used and are only counted."""

    folder: str
    files: tuple[RemoteFile, ...]
    route: Route
    odd: int = 0

    @property
    def names(self) -> frozenset[str]:
        """The files' names."""
        return frozenset(file.name for file in self.files)


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The folders of all targets; ``odd`` names could not be used and are only counted."""

    folders: tuple[str, ...]
    route: Route
    odd: int = 0

    @property
    def complete(self) -> bool:
        """Whether a folder that is not in it is not on the telescope."""
        return self.route is Route.SMB


def file_listing(folder: str, files: Iterable[RemoteFile], route: Route) -> FileListing:
    """Sort files by name and leave the odd names out, counted."""
    found = list(files)
    safe = sorted((file for file in found if is_safe_name(file.name)), key=lambda file: file.name)
    return FileListing(folder, tuple(safe), route, len(found) - len(safe))


def folder_listing(names: Iterable[str], route: Route) -> FolderListing:
    """Sort folders and leave the odd names out, counted."""
    found = set(names)
    safe = sorted(name for name in found if is_safe_name(name))
    return FolderListing(tuple(safe), route, len(found) - len(safe))
