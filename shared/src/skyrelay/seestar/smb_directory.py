"""A folder's entries out of an SMB2 answer: [MS-FSCC] 2.4.10, FileDirectoryInformation.

smbprotocol reads each field into an object of its own, which takes seconds for the tens of thousands of
files that a summer leaves in a folder; this reads each entry at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# NextEntryOffset, then (after FileIndex, CreationTime, LastAccessTime) LastWriteTime, (ChangeTime),
# EndOfFile, (AllocationSize), FileAttributes, FileNameLength.
_ENTRY = struct.Struct("<I20xQ8xQ8xII")
_FOLDER = 0x10  # FILE_ATTRIBUTE_DIRECTORY
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a listing; ``modified`` is aware UTC by the telescope's clock."""

    name: str
    size_bytes: int
    is_folder: bool
    modified: datetime | None


def read_directory(buffer: bytes) -> Iterator[Entry]:
    """Read the entries of one answer, ``.`` and ``..`` among them.

    Raises
    ------
    ValueError
        If it is no such answer.
    """
    offset = 0
    while True:
        if offset + _ENTRY.size > len(buffer):
            raise ValueError(f"an entry at byte {offset} of {len(buffer)} has no room")
        step, written, size, attributes, length = _ENTRY.unpack_from(buffer, offset)
        name = buffer[offset + _ENTRY.size : offset + _ENTRY.size + length]
        if len(name) < length or 0 < step < _ENTRY.size + length:
            raise ValueError(f"the entry at byte {offset} is longer than its place")
        yield Entry(name.decode("utf-16-le", "replace"), size, bool(attributes & _FOLDER), _moment(written))
        if not step:
            return
        offset += step


def _moment(ticks: int) -> datetime | None:
    """Read a FILETIME, tenths of microseconds since 1601; `None` for none and for what no calendar has."""
    microseconds = ticks // 10
    return _EPOCH + timedelta(microseconds=microseconds) if 0 < microseconds <= _LAST else None
