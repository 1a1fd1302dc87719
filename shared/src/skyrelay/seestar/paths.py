r"""The grammar of a telescope's paths: ``MyWorks/<folder>/<file>``, over RPC, HTTP and SMB.

Every path is joined here, from components that have been checked, so that no name from outside
leads anywhere else.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from skyrelay.seestar.errors import NameUnsafe

WORKS = "MyWorks"  # the folder on the eMMC that holds all targets' folders
_MAX_NAME_BYTES = 255  # the limit of the telescope's file system (ext4) and of ours
_FORBIDDEN = frozenset(
    '/\\:*?"<>|\ufffd'
)  # separators, SMB's streams and wildcards, and a byte that was no UTF-8
_FULL_NAMES_SINCE = 2775  # firmware 7.75: the batch stacker wants paths, before it bare names


def is_safe_name(name: str) -> bool:
    """Tell whether ``name`` is a single path component on the telescope, on SMB and here."""
    if not name or name in {".", ".."} or not _FORBIDDEN.isdisjoint(name):
        return False
    if not name.isprintable() and any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        return False
    return len(name.encode("utf-8")) <= _MAX_NAME_BYTES


def checked_name(name: str) -> str:
    """Give ``name`` back.

    Raises
    ------
    NameUnsafe
        If it is not a single path component.
    """
    if not is_safe_name(name):
        raise NameUnsafe(f"{name!r} is not a plain file or folder name")
    return name


def works_path(folder: str, name: str | None = None) -> str:
    """Join a path from the eMMC's root, as RPC writes it: ``MyWorks/M 81_sub/Light_….fit``."""
    parts = [WORKS, checked_name(folder)] + ([] if name is None else [checked_name(name)])
    return "/".join(parts)


def http_path(folder: str, name: str) -> str:
    """Write the same percent-encoded: ``/MyWorks/M%2081_sub/Light_….fit``."""
    return "/" + quote(works_path(folder, name), safe="/")


def folder_of_works_path(path: str) -> str | None:
    """Read ``MyWorks/<folder>`` back; `None` for any other path."""
    works, _, folder = path.strip("/").partition("/")
    return folder if works == WORKS and is_safe_name(folder) else None


def bare_name(name_or_path: str) -> str | None:
    """Give the file name of a bare or a full name; `None` when it is no safe name."""
    name = name_or_path.rpartition("/")[2]
    return name if is_safe_name(name) else None


def batch_stack_name(folder: str, name: str, firmware: int | None) -> str:
    """Name a file for the batch stacker.

    Parameters
    ----------
    firmware
        ``firmware_ver_int``; an unknown one (`None`) is taken for a new one. The wrong form ends the
        stack with code 267, "no image".
    """
    if firmware is not None and firmware < _FULL_NAMES_SINCE:
        return checked_name(name)
    return works_path(folder, name)
