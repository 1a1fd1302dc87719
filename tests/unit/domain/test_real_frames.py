"""32 real frames of M 94, Seestar S50, firmware 4.27: what their names and headers say of each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from skyrelay.domain.block import block_start, too_short
from skyrelay.domain.chunk import chunk_of, healpix_pixel
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.night import night_of
from skyrelay.domain.utc_offset import exposure_start, measure_utc_offset
from skyrelay.fits_header import date_obs, read_header
from support.left_out import left_out

_FOLDER = Path(__file__).parents[3] / "../shared/data/seestar-m94"
_OFFSET = timedelta(hours=-4)


@dataclass(frozen=True)
class RealFrame:
    name: LightFrameName
    start: datetime
    ra_deg: float
    dec_deg: float


@pytest.fixture
def frames() -> list[RealFrame]:
    if not _FOLDER.is_dir():
        left_out("needs the real frames of M 94 beside the checkout, not here")
    return [read_frame(path) for path in sorted(_FOLDER.glob("*.fit"))]


def read_frame(path: Path) -> RealFrame:
    with path.open("rb") as file:
        header = read_header(file.read)
    name, start = LightFrameName.parse(path.name), date_obs(header)
    ra_deg, dec_deg = header.number("RA"), header.number("DEC")
    assert name is not None
    assert start is not None
    assert ra_deg is not None
    assert dec_deg is not None
    return RealFrame(name, start, ra_deg, dec_deg)


def test_they_are_one_block_of_one_night(frames: list[RealFrame]) -> None:
    assert len(frames) == 32
    offsets = {
        measure_utc_offset(frame.name.saved_local, frame.name.exposure_s, frame.start) for frame in frames
    }
    assert offsets == {_OFFSET}
    assert {block_start(frame.start, _OFFSET) for frame in frames} == {
        datetime(2025, 3, 27, 1, 15, tzinfo=UTC)
    }
    assert {chunk_of(frame.start) for frame in frames} == {"20250327.05"}
    assert {night_of(frame.start, _OFFSET) for frame in frames} == {date(2025, 3, 26)}
    assert {(frame.name.target, frame.name.exposure, frame.name.filter) for frame in frames} == {
        ("M 94", "10.0s", "IRCUT")
    }
    assert sum(frame.name.exposure_s for frame in frames) == 320.0
    assert too_short([frame.name.exposure_s for frame in frames], 240.0) is None


def test_they_lie_in_one_pixel(frames: list[RealFrame]) -> None:
    assert len({(frame.ra_deg, frame.dec_deg) for frame in frames}) == 2  # it was centred again
    assert {healpix_pixel(frame.ra_deg, frame.dec_deg) for frame in frames} == {33810}


def test_the_name_alone_tells_the_start_to_1_3_seconds(frames: list[RealFrame]) -> None:
    errors = [
        abs(exposure_start(frame.name.saved_local, frame.name.exposure_s, _OFFSET) - frame.start)
        for frame in frames
    ]
    assert max(errors) < timedelta(seconds=1.3)
