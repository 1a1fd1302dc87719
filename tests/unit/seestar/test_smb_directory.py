"""A folder's entries as an SMB server writes them; smbprotocol's own structures write them here."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smbprotocol.file_info import FileAttributes, FileDirectoryInformation

from skyrelay.seestar.smb_directory import Entry, read_directory

SAVED = datetime(2026, 2, 27, 21, 52, 3, tzinfo=UTC)


def written(*entries: Entry) -> bytes:
    """Write an answer."""
    buffer = b""
    for number, entry in enumerate(entries, 1):
        fields = FileDirectoryInformation()
        fields["file_name"] = entry.name.encode("utf-16-le")
        fields["end_of_file"] = entry.size_bytes
        fields["last_write_time"] = entry.modified or SAVED
        if entry.is_folder:
            fields["file_attributes"].set_flag(FileAttributes.FILE_ATTRIBUTE_DIRECTORY)
        packed = fields.pack()
        room = -len(packed) % 8 if number < len(entries) else 0
        if number < len(entries):
            fields["next_entry_offset"] = len(packed) + room
        buffer += fields.pack() + bytes(room)
    return buffer


@given(
    st.lists(
        st.builds(
            Entry,
            name=st.text(
                st.characters(codec="utf-16-le", exclude_categories=["Cs"]), min_size=1, max_size=40
            ),
            size_bytes=st.integers(0, 2**40),
            is_folder=st.booleans(),
            modified=st.integers(1, 2**31).map(lambda seconds: SAVED + timedelta(seconds=seconds)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_entries_are_read_as_they_were_written(entries: list[Entry]) -> None:
    assert list(read_directory(written(*entries))) == entries


@pytest.mark.parametrize("ticks", [0, 9, 2**64 - 1])
def test_a_time_that_no_calendar_has_is_none(ticks: int) -> None:
    buffer = bytearray(written(Entry("a.fit", 5, False, SAVED)))
    buffer[24:32] = ticks.to_bytes(8, "little")
    (entry,) = read_directory(bytes(buffer))
    assert (entry.name, entry.modified) == ("a.fit", None)


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 70])
def test_an_answer_cut_short_is_no_listing(cut: int) -> None:
    whole = written(Entry("Light_M 81.fit", 5, False, SAVED))
    with pytest.raises(ValueError, match=r"no room|longer than its place"):
        list(read_directory(whole[:cut]))


@given(st.binary(max_size=300))
def test_noise_ends(data: bytes) -> None:
    with suppress(ValueError):
        assert len(list(read_directory(data))) <= len(data)
