"""Two hundred broken files: each is answered by rule, from few bytes, in little memory; none stops us."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skyrelay.domain.frame_facts import KnownOffset, Sighting, facts_from_header
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.fits_header import (
    BLOCK_BYTES,
    MAX_BLOCKS,
    FitsError,
    HeaderIncomplete,
    parse_header,
    read_header_bytes,
    without_location,
)
from skyrelay_uploader.thumbnail import main as draw_thumbnail
from skyrelay_watcher.fits_look import Look, look_at
from support.broken_fits import Answer, Broken, broken_files

FILES = broken_files()
NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAME = LightFrameName("M 81", "20.0s", "LP", datetime(2025, 3, 27, 21, 20, 55))  # noqa: DTZ001 - the wall clock of a name
SIGHTING = Sighting("M 81_sub", NAME.build(), 5760, "watcher")
LOCAL = KnownOffset(timedelta(hours=-4), OffsetSource.HEADER)
_MB = 10**6


@contextmanager
def within(limit_bytes: int) -> Iterator[None]:
    """Fail if what runs inside has held more memory than that at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit_bytes
    finally:
        tracemalloc.stop()


@pytest.fixture(params=FILES, ids=lambda broken: broken.name)
def broken(request: pytest.FixtureRequest) -> Broken:
    return request.param  # type: ignore[no-any-return] # pytest does not say what a parameter is


def as_answer(look: Look | None, path: Path) -> Answer:
    """Name what a look found."""
    if look is None:
        return Answer.NOT_OPENED
    if look.header is None:
        with path.open("rb") as file:
            return _without_header(read_or_refuse(file.read))
    if look.cut_short:
        return Answer.CUT_SHORT
    return Answer.WHOLE if look.problem is None else Answer.NO_SIZE


def read_or_refuse(read: Callable[[int], bytes]) -> FitsError | None:
    """Give what the reader says of bytes that are no header."""
    try:
        parse_header(read_header_bytes(read))
    except FitsError as error:
        return error
    return None


def _without_header(error: FitsError | None) -> Answer:
    return Answer.INCOMPLETE if isinstance(error, HeaderIncomplete) else Answer.NOT_FITS


def test_there_are_two_hundred_and_they_are_the_same_each_time() -> None:
    assert len(FILES) == 200
    assert len({broken.name for broken in FILES}) == 200
    assert [broken.content for broken in broken_files()] == [broken.content for broken in FILES]
    assert {broken.answer for broken in FILES} == set(Answer)


def test_a_look_answers_by_rule(broken: Broken, tmp_path: Path) -> None:
    path = broken.write(tmp_path)
    look = look_at(str(path))
    assert as_answer(look, path) is broken.answer
    if broken.answer is not Answer.NOT_OPENED:
        with path.open("rb") as file:
            read_or_refuse(file.read)
            assert file.tell() <= MAX_BLOCKS * BLOCK_BYTES


def test_what_has_a_header_gives_facts_and_loses_its_place(broken: Broken) -> None:
    try:
        header = parse_header(broken.content)
    except FitsError:
        assert cleaned(broken.content) == b""
        return
    facts = facts_from_header(SIGHTING, NAME, header, lambda: LOCAL, NOW)
    assert facts.file_name == NAME.build()
    assert facts.start_at is None or facts.start_at.utcoffset() is not None
    assert header.number("SITELAT") is None or b"SITELAT" not in cleaned(broken.content)
    assert repr(header).startswith("FitsHeader(")


def cleaned(content: bytes) -> bytes:
    """Give a file without its place; nothing where that cannot be promised."""
    try:
        return without_location(content)
    except FitsError:
        return b""


def test_a_picture_is_drawn_or_refused(broken: Broken, tmp_path: Path) -> None:
    if broken.answer is Answer.NOT_OPENED:
        return
    path, picture = broken.write(tmp_path), tmp_path / "picture.jpg"
    code = draw_thumbnail(path, picture)
    assert (code == 0) is picture.is_file()
    assert code in {0, 1}
    assert broken.answer is Answer.WHOLE or code == 1


def test_the_largest_take_little_memory(tmp_path: Path) -> None:
    giants = [broken for broken in FILES if broken.size or len(broken.content) > 20 * BLOCK_BYTES]
    assert len(giants) > 10
    for broken in giants:
        path = broken.write(tmp_path)
        with within(8 * _MB):
            look_at(str(path))
        if broken.answer is Answer.WHOLE:
            with within(100 * _MB):
                draw_thumbnail(path, tmp_path / "picture.jpg")
