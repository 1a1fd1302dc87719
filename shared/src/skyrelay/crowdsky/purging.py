"""CrowdSky's files on a telescope: which they are, and how one of them is deleted. For scripts and services.

A light frame is never among them, whatever it is called and wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import PurePosixPath

from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX
from skyrelay.errors import RefusedByRule
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import FileMissing
from skyrelay.seestar.listing import FileListing, RemoteFile
from skyrelay.seestar.telescope import Telescope

A_DELETION = timedelta(seconds=10)  # what must be left of the lease to begin one
_PREFIX = "CrowdSky_"
_FITS = (".fit", ".fits")
_COMPANIONS = (".jpg", "_thn.jpg")  # what lies beside a FITS file, after its stem


def folders_of_stacks(folders: Iterable[str]) -> list[str]:
    """Leave the folders of raw frames out."""
    return [folder for folder in folders if not folder.endswith(SUB_FOLDER_SUFFIX)]


def crowdsky_files(listing: FileListing) -> list[RemoteFile]:
    """Give what bears CrowdSky's name in a folder of stacks, by name; nothing of a folder of raw frames."""
    return sorted(file for file in listing.files if _is_purgeable(listing.folder, file.name))


def stack_of(file_name: str, names: Iterable[str]) -> str | None:
    """Name the stack that a file is, or belongs to as its picture; `None` for a picture without one."""
    if file_name.casefold().endswith(_FITS):
        return file_name
    stacks = (name for name in names if name.casefold().endswith(_FITS))
    return next((name for name in stacks if file_name in _companions_of(name)), None)


def delete_file(seestar: Telescope, folder: str, name: str) -> None:
    """Delete one of CrowdSky's files for good, under the telescope's lease. One that is gone is gone.

    Raises
    ------
    RefusedByRule
        If it is none of CrowdSky's files, or another rule forbids it.
    PermanentError, TransientError, AmbiguousError
        As `skyrelay.seestar.telescope.Telescope.delete` does.
    """
    if not _is_purgeable(folder, name):
        raise RefusedByRule(f"{folder}/{name} is no stack of CrowdSky's: it is not deleted")
    with suppress(FileMissing):
        seestar.delete(folder, name, deadline=Deadline.after(A_DELETION))


def _is_purgeable(folder: str, name: str) -> bool:
    return name.startswith(_PREFIX) and not folder.endswith(SUB_FOLDER_SUFFIX)


def _companions_of(name: str) -> set[str]:
    return {PurePosixPath(name).stem + suffix for suffix in _COMPANIONS}
