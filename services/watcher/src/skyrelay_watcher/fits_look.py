"""One look at one file: is it there, is it whole, what does its header say.

Only regular files are opened, and never through a symbolic link below the root; a FIFO or a device
cannot hold the watcher up. No more than the header is read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skyrelay.fits_header import (
    FitsError,
    FitsHeader,
    NotFits,
    parse_header,
    promised_size,
    read_header_bytes,
)

SUFFIXES = (".fit", ".fits")
_INT64 = 2**63 - 1  # what the journal can hold; a file system may claim any time
# O_NONBLOCK: opening a FIFO that took the file's place must not wait for its writer.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_UNKNOWN = -1
_OPEN_FILES = Path("/proc/self/fd")  # Linux: says where an open file really lies


class Stamp(NamedTuple):  # made for every entry of a listing: a data class takes four times as long
    """What tells whether a file has changed: its size in bytes, its times in ns since 1970 (UTC)."""

    size_bytes: int
    modified_ns: int
    changed_ns: int

    def has_same_content(self, other: Stamp | None) -> bool:
        """Tell whether size and time of modification are equal; a new mode or owner is no new content."""
        return (
            other is not None
            and self.size_bytes == other.size_bytes
            and self.modified_ns == other.modified_ns
        )

    def never_matching(self) -> Stamp:
        """Give a stamp that equals none of a real file in full, so that the file is looked at again."""
        return Stamp(self.size_bytes, self.modified_ns, _UNKNOWN)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a file gave.

    Attributes
    ----------
    stamp
        Of the file while it was read.
    header
        Its first header; `None` when that could not be read.
    header_sha256
        Of the header's raw bytes, padding included; empty without header.
    problem
        Why it is no whole, readable FITS file, in words.
    cut_short
        The header is there and promises more bytes than the file has.
    may_pass
        The problem lies in the reading, not in the file: looking again may help.
    """

    stamp: Stamp
    header: FitsHeader | None = None
    header_sha256: str = ""
    problem: str | None = None
    cut_short: bool = False
    may_pass: bool = False


def is_fits_name(name: str) -> bool:
    """Tell whether a file's name ends in .fit or .fits, in any case."""
    return name.lower().endswith(SUFFIXES)


def stamp_of(path: str) -> Stamp | None:
    """Give the stamp of the regular file at ``path``; `None` when there is none that we may ask about."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return as_stamp(found) if stat.S_ISREG(found.st_mode) else None


def as_stamp(found: os.stat_result) -> Stamp:
    """Make a stamp of what the system says of a file."""
    return Stamp(found.st_size, _bounded(found.st_mtime_ns), _bounded(found.st_ctime_ns))


def look_at(path: str, top: str | None = None) -> Look | None:
    """Look at the file at ``path``; `None` when there is no regular file, or it changed while we read.

    What is wrong with the file is said in `Look.problem`.

    Parameters
    ----------
    path
        Absolute.
    top
        The real folder that the file must lie in, however deep: a folder on the way that was put in
        another's place by a link meanwhile leads nowhere.
    """
    before = stamp_of(path)
    if before is None:
        return None
    try:
        file = os.open(path, _OPEN_FLAGS)
    except OSError as error:
        return _unreadable(path, before, error)
    try:
        return _look_into(file) if _lies_below(top, file) else None
    except OSError as error:
        return _unreadable(path, before, error)
    finally:
        os.close(file)


def judge(stamp: Stamp, read: Callable[[int], bytes]) -> Look:
    """Say what a file is, from its stamp and its first bytes; ``read`` reads on from its beginning."""
    if stamp.size_bytes == 0:
        return Look(stamp, problem="the file is empty")
    try:
        raw = read_header_bytes(read)
        header = parse_header(raw)
    except FitsError as error:
        return Look(stamp, problem=str(error))
    return _judge_size(stamp, header, hashlib.sha256(raw[: header.length]).hexdigest())


def _look_into(file: int) -> Look | None:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        return None
    stamp = as_stamp(found)
    look = judge(stamp, lambda size: os.read(file, size))
    return look if as_stamp(os.fstat(file)).has_same_content(stamp) else None


def _lies_below(top: str | None, file: int) -> bool:
    if top is None:
        return True
    try:
        return str((_OPEN_FILES / str(file)).readlink()).startswith(f"{top}/")
    except FileNotFoundError:  # no Linux: then the link at the path's end is all that is refused
        return not _OPEN_FILES.is_dir()


def _judge_size(stamp: Stamp, header: FitsHeader, sha256: str) -> Look:
    try:
        promised = promised_size(header)
    except NotFits as error:
        return Look(stamp, header, sha256, problem=str(error))
    if stamp.size_bytes >= promised:
        return Look(stamp, header, sha256)
    problem = f"the file is cut short: {stamp.size_bytes} of {promised} bytes"
    return Look(stamp, header, sha256, problem=problem, cut_short=True)


def _unreadable(path: str, before: Stamp, error: OSError) -> Look | None:
    now = stamp_of(path)
    if now is None or not now.has_same_content(before):
        return None
    lasting = isinstance(error, PermissionError)  # it shows in the time of change when that is mended
    return Look(now, problem=f"the file cannot be read: {error.strerror}", may_pass=not lasting)


def _bounded(nanoseconds: int) -> int:
    return max(-_INT64, min(_INT64, nanoseconds))
