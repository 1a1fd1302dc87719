"""A frame's file, byte by byte."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from skyrelay_simulators.light_frame_file import LightFrameFacts, frame_bytes
from skyrelay_simulators.star_field import FieldSize, StarField
from skyrelay_simulators.telescope import TelescopeSpec

# The cards of 32 real frames (firmware 4.27), in their order.
_CARDS = (
    *("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "COMMENT", "COMMENT", "BZERO", "BSCALE"),
    *("CREATOR", "PRODUCER", "XORGSUBF", "YORGSUBF", "FOCALLEN", "APERTURE", "PROGRAM", "XBINNING"),
    *("YBINNING", "CCDXBIN", "CCDYBIN", "XPIXSZ", "YPIXSZ", "IMAGETYP", "EXPOSURE", "EXPTIME", "CCD-TEMP"),
    *("RA", "DEC", "SITELONG", "SITELAT", "DATE-OBS", "FILTER", "INSTRUME", "BAYERPAT", "GAIN", "FOCUSPOS"),
    *("TELESCOP", "OBJECT", "TOTALEXP"),
)


def _facts(target: str = "M 94", firmware: int = 2427) -> LightFrameFacts:
    return LightFrameFacts(
        spec=TelescopeSpec(serial="1d3fe189", root=Path(), firmware_ver_int=firmware),
        target=target,
        started=datetime(2025, 3, 27, 1, 20, 32, 955368, UTC),
        exposure_s=10.0,
        filter="IRCUT",
        ra_deg=193.04166,
        dec_deg=40.970556,
    )


def _read(content: bytes) -> tuple[fits.Header, Any]:
    with fits.open(io.BytesIO(content)) as units:
        units.verify("exception")
        return units[0].header, units[0].data


def test_the_cards_are_the_real_ones_in_their_order() -> None:
    header, _ = _read(frame_bytes(_facts(), np.zeros((16, 14), np.uint16)))
    assert tuple(header) == _CARDS


def test_newer_firmware_adds_eqmode() -> None:
    header, _ = _read(frame_bytes(_facts(firmware=2846), np.zeros((16, 14), np.uint16)))
    assert tuple(header) == (*_CARDS, "EQMODE")


def test_numbers_are_written_as_the_firmware_writes_them() -> None:
    content = frame_bytes(_facts(), np.zeros((16, 14), np.uint16))
    assert b"EXPTIME =                  10. / Exposure time in seconds                       " in content
    assert b"XPIXSZ  =     2.90000009536743 / pixel size in microns (with binning)           " in content
    assert b"TELESCOP= 'S50_1d3fe189'       / Telescope name                                 " in content
    assert len(content) % 2880 == 0


@pytest.mark.parametrize("value", [0, 1, 32767, 32768, 65535])
def test_every_16_bit_value_survives(value: int) -> None:
    _, data = _read(frame_bytes(_facts(), np.full((16, 14), value, np.uint16)))
    assert data.dtype == np.uint16
    assert (data == value).all()


@pytest.mark.parametrize("target", ["M 94", "Barnard's Star", "mosaic_M 31", "C/2023 A3"])
def test_a_target_is_read_back_as_it_is_called(target: str) -> None:
    header, _ = _read(frame_bytes(_facts(target=target), np.zeros((16, 14), np.uint16)))
    assert header["OBJECT"] == target


def test_a_target_shows_the_same_stars_every_night() -> None:
    size = FieldSize(64, 96)
    first, second, other = (StarField(name, size, 10.0).expose() for name in ("M 81", "M 81", "M 82"))
    assert (first == second).all()
    assert (first != other).any()


def test_frames_of_one_field_differ_by_noise() -> None:
    field = StarField("M 81", FieldSize(64, 96), 10.0)
    first, second = field.expose(), field.expose()
    assert (first != second).mean() > 0.9
    assert abs(float(np.median(first)) - 900) < 60


@pytest.mark.parametrize(("width", "height"), [(10, 96), (65, 96), (64, 97)])
def test_a_field_must_hold_whole_cells_and_a_star(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="even"):
        FieldSize(width, height)
