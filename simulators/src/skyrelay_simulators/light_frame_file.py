"""A sub-frame's file, byte for byte in the form of the real ones: cards, order, comments, padding.

Written without a FITS library, so that a test of our reader is not a test of the same library twice.
The cards are those of 32 frames of firmware 4.27; EQMODE comes with newer firmware.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from skyrelay_simulators.telescope.spec import TelescopeSpec

_CARD = 80  # bytes
_BLOCK = 2880  # bytes
_ZERO = 32768  # BZERO: how FITS says "unsigned 16 bit"
_PIXEL_UM = 2.90000009536743  # microns, as the firmware's single precision prints it

CardValue = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class LightFrameFacts:
    """What a frame's header says.

    Attributes
    ----------
    started
        Start of the exposure, aware: DATE-OBS gives it in UTC with microseconds.
    ra_deg, dec_deg
        Where the telescope pointed, degrees.
    """

    spec: TelescopeSpec
    target: str
    started: datetime
    exposure_s: float
    filter: str
    ra_deg: float
    dec_deg: float
    gain: int = 80
    temperature_c: float = field(default=25.0)
    focus: int = 1555


def frame_bytes(facts: LightFrameFacts, pixels: NDArray[np.uint16]) -> bytes:
    """Write a frame; ``pixels`` has shape (rows, columns)."""
    height, width = pixels.shape
    header = "".join(_header_lines(facts, width, height)).encode("ascii", "replace")
    data = (pixels.astype(np.int32) - _ZERO).astype(">i2").tobytes()
    return _padded(header, b" ") + _padded(data, b"\0")


def _padded(content: bytes, filler: bytes) -> bytes:
    return content + filler * (-len(content) % _BLOCK)


def _header_lines(facts: LightFrameFacts, width: int, height: int) -> Iterator[str]:
    for keyword, value, comment in _cards(facts, width, height):
        yield f"{keyword:<8}= {_value(value)} / {comment}"[:_CARD].ljust(_CARD)
        if keyword == "EXTEND":
            yield from (line.ljust(_CARD) for line in _FITS_COMMENT)
    yield "END".ljust(_CARD)


def _value(value: CardValue) -> str:
    match value:
        case bool():
            return f"{'T' if value else 'F':>20}"
        case str():
            quoted = value.replace("'", "''")
            return f"'{quoted:<8}'".ljust(20)
        case int():
            return f"{value:>20}"
    text = f"{value:.15G}"
    return f"{text if '.' in text or 'E' in text else text + '.':>20}"


_FITS_COMMENT = (
    "COMMENT   FITS (Flexible Image Transport System) format is defined in 'Astronomy",
    "COMMENT   and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H",
)


def _cards(facts: LightFrameFacts, width: int, height: int) -> Iterator[tuple[str, CardValue, str]]:
    yield "SIMPLE", True, "file does conform to FITS standard"
    yield "BITPIX", 16, "number of bits per data pixel"
    yield "NAXIS", 2, "number of data axes"
    yield "NAXIS1", width, "length of data axis 1"
    yield "NAXIS2", height, "length of data axis 2"
    yield "EXTEND", True, "FITS dataset may contain extensions"
    yield "BZERO", _ZERO, "offset data range to that of unsigned short"
    yield "BSCALE", 1, "default scaling factor"
    yield from _instrument_cards(facts.spec)
    yield "IMAGETYP", "Light", "Type of image"
    yield "EXPOSURE", facts.exposure_s, "Exposure time in seconds"
    yield "EXPTIME", facts.exposure_s, "Exposure time in seconds"
    yield from _pointing_cards(facts)
    yield "TELESCOP", facts.spec.telescop, "Telescope name"
    yield "OBJECT", facts.target, "name or catalog number of object being imaged"
    yield "TOTALEXP", facts.exposure_s, "Total Exposure Time in seconds"
    if facts.spec.firmware.writes_eqmode:
        yield "EQMODE", 0, "Equatorial mode"


def _instrument_cards(spec: TelescopeSpec) -> Iterator[tuple[str, CardValue, str]]:
    yield "CREATOR", f"ZWO {spec.model}", "Capture software"
    yield "PRODUCER", "ZWO", "Powered by ZWO"
    yield "XORGSUBF", 0, "Subframe X position in binned pixels"
    yield "YORGSUBF", 0, "Subframe Y position in binned pixels"
    yield "FOCALLEN", 250, "Focal length of telescope in mm"
    yield "APERTURE", 5.0, "Name of field of view aperture"
    yield "PROGRAM", spec.firmware.version, "The name of the software task that created the file"
    yield "XBINNING", 1, "Camera X Bin"
    yield "YBINNING", 1, "Camera Y Bin"
    yield "CCDXBIN", 1, "Camera X Bin"
    yield "CCDYBIN", 1, "Camera Y Bin"
    yield "XPIXSZ", _PIXEL_UM, "pixel size in microns (with binning)"
    yield "YPIXSZ", _PIXEL_UM, "pixel size in microns (with binning)"


def _pointing_cards(facts: LightFrameFacts) -> Iterator[tuple[str, CardValue, str]]:
    yield "CCD-TEMP", facts.temperature_c, "sensor temperature in C"
    yield "RA", facts.ra_deg, "Object Right Ascension in degrees"
    yield "DEC", facts.dec_deg, "Object Declination in degrees"
    yield "SITELONG", facts.spec.longitude_deg, "longitude of the imaging site in degrees"
    yield "SITELAT", facts.spec.latitude_deg, "latitude of the imaging site in degrees"
    started = facts.started.astimezone(UTC).replace(tzinfo=None)
    yield "DATE-OBS", started.isoformat(timespec="microseconds"), "Image created time"
    yield "FILTER", facts.filter, "Filter used when taking image"
    yield "INSTRUME", facts.spec.model, "Camera model"
    yield "BAYERPAT", "GRBG", "Bayer pattern"
    yield "GAIN", facts.gain, "Gain Value"
    yield "FOCUSPOS", facts.focus, "Focuser position in steps"
