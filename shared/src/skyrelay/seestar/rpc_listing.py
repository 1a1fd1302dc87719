"""Listings over RPC, for telescopes whose share does not answer.

There is ONE directory cursor a telescope, shared by all of its clients: two listings at once
silently return each other's files (seen live). So the caller holds the telescope's lease, and what
comes back is checked for the marks that such a mix-up leaves.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX, LightFrameName
from skyrelay.domain.stack_name import parse_stack_name
from skyrelay.seestar.connection import Connection
from skyrelay.seestar.errors import CommandRefused, FileMissing, ListingFailed
from skyrelay.seestar.fields import Fields, JsonValue, as_number
from skyrelay.seestar.listing import (
    FileListing,
    FolderListing,
    RemoteFile,
    Route,
    file_listing,
    folder_listing,
)
from skyrelay.seestar.paths import works_path

_PAGE_FILES = 20  # entries a page (documented)
_MAX_PAGES = 5000  # 100,000 files in a folder: a cursor that promises more is not believed


def list_folders(connection: Connection) -> FolderListing:
    """Name the targets' folders as ``get_albums`` does: it leaves some out (live: up to 8 of 41).

    Raises
    ------
    ListingFailed, Unreachable, KeyMissing, KeyRefused
    """
    try:
        albums = Fields.of(connection.read("get_albums"))
    except CommandRefused as error:
        raise ListingFailed(f"{connection.name}: its albums cannot be listed ({error})") from error
    if not isinstance(albums.members.get("list"), list):
        raise ListingFailed(f"{connection.name}: get_albums answers without a list")
    names = [album.text("name") for group in albums.each("list") for album in group.each("files")]
    return folder_listing((name for name in names if name), Route.RPC)


def list_files(connection: Connection, folder: str) -> FileListing:
    """List a folder page by page; sizes come rounded, so they are not given.

    Raises
    ------
    FileMissing
        If there is no such folder.
    ListingFailed, Unreachable, KeyMissing, KeyRefused, NameUnsafe
    """
    path = works_path(folder)
    try:
        pages = _page_count(connection, path)
        entries = [_page(connection, path, page, pages) for page in range(pages)]
    except CommandRefused as error:
        _check_there(connection, folder)
        raise ListingFailed(f"{connection.name}: {path} cannot be listed ({error})") from error
    if not pages:
        _check_there(connection, folder)
    shown = [[entry.text("name") or "" for entry in page if not _is_folder(entry)] for page in entries]
    _check_unmixed(connection, folder, shown)
    return file_listing(folder, (RemoteFile(name) for page in shown for name in page), Route.RPC)


def _page_count(connection: Connection, path: str) -> int:
    """Set the telescope's cursor; a number, or an object that holds one (guessed for other firmware)."""
    result = connection.read("get_img_file_page_number", {"dir": path, "skip_avi": False})
    number = as_number(result) if not isinstance(result, dict) else Fields.of(result).number("page_number")
    if number is None or not 0 <= number <= _MAX_PAGES or number != int(number):
        raise ListingFailed(f"{connection.name}: {path}: the number of pages cannot be read")
    return int(number)


def _page(connection: Connection, path: str, page: int, pages: int) -> list[Fields]:
    result = connection.read("get_img_file_page_name", {"page": page})
    entries = _entries(result)
    whole = len(entries) == _PAGE_FILES if page < pages - 1 else 0 < len(entries) <= _PAGE_FILES
    if not whole:
        raise ListingFailed(f"{connection.name}: {path}: page {page} of {pages} has {len(entries)} entries")
    return entries


def _entries(result: JsonValue) -> list[Fields]:
    """Read a page: a list, or an object that holds one (guessed for other firmware)."""
    return list(
        Fields({"list": result} if isinstance(result, list) else Fields.of(result).members).each("list")
    )


def _is_folder(entry: Fields) -> bool:
    return entry.members.get("is_dir") is True or entry.integer("is_dir") == 1


def _check_there(connection: Connection, folder: str) -> None:
    """Tell an empty folder from none; a folder that get_albums leaves out cannot be told from none."""
    if folder not in list_folders(connection).folders:
        raise FileMissing(f"{connection.name}: no folder {folder} is seen on it")


def _check_unmixed(connection: Connection, folder: str, pages: list[list[str]]) -> None:
    """Refuse a listing of which a page shows another folder's files."""
    names = [name for page in pages for name in page]
    if len(set(names)) < len(names) or any(_is_elsewhere(page, folder) for page in pages):
        raise ListingFailed(f"{connection.name}: {folder}: another listing got in between; list it again")


def _is_elsewhere(page: list[str], folder: str) -> bool:
    """Tell whether a page shows frames or stacks, and none that belongs into the folder.

    Frames lie in ``NAME_sub``, stacks in ``NAME``; a person may have put some other one there too.
    """
    target, wants_frames = folder.removesuffix(SUB_FOLDER_SUFFIX), folder.endswith(SUB_FOLDER_SUFFIX)
    found = [kind for name in page if (kind := _kind_and_target(name))]
    at_home = (is_frame == wants_frames and _belongs(whose, target) for is_frame, whose in found)
    return bool(found) and not any(at_home)


def _kind_and_target(name: str) -> tuple[bool, str] | None:
    """Tell whether a FITS file or its picture is a frame (else a stack), and of what; `None` for others."""
    fits_name = f"{PurePosixPath(name).stem.removesuffix('_thn')}.fit"
    if frame := LightFrameName.parse(fits_name):
        return True, frame.target
    stack = parse_stack_name(fits_name)
    return (False, stack.target) if stack else None


def _belongs(frame_target: str, target: str) -> bool:
    return target in {frame_target, frame_target.removeprefix("mosaic_"), f"{frame_target}_mosaic"}
