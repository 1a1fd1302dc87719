"""CrowdSky's chunks: quarter hours of the UTC day, and their keys.

A chunk is ``YYYYMMDD.CC`` with CC = seconds since UTC midnight // 900 (00–95). A chunk key adds
the HEALPix pixel of the position: ``YYYYMMDD.CC_HPnnnnnn`` (NSIDE 128, RING). Source: the CrowdSky
server, which computes the key itself from DATE-OBS, RA and DEC of the uploaded file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

CHUNK = timedelta(minutes=15)
NSIDE = 128
PIXELS = 12 * NSIDE * NSIDE
UNKNOWN_PIXEL = 0  # what the naming convention writes for an unknown position; also a real pixel
_KEY = re.compile(r"(?P<chunk>[0-9]{8}\.[0-9]{2})(?:_HP(?P<pixel>[0-9]{6}))?")


@dataclass(frozen=True, slots=True, order=True)
class ChunkKey:
    """A chunk and the HEALPix pixel (NSIDE 128, RING); ``pixel`` is `None` when it is not known."""

    chunk: str
    pixel: int | None = None

    @classmethod
    def parse(cls, text: str) -> ChunkKey | None:
        """Read ``YYYYMMDD.CC`` or ``YYYYMMDD.CC_HPnnnnnn``; `None` for anything else."""
        match = _KEY.fullmatch(text)
        if match is None or not is_chunk(match["chunk"]):
            return None
        return cls(match["chunk"], None if match["pixel"] is None else int(match["pixel"]))

    def __str__(self) -> str:
        return self.chunk if self.pixel is None else f"{self.chunk}_HP{self.pixel:06d}"


def chunk_of(instant: datetime) -> str:
    """Name the chunk in which an aware instant lies."""
    utc = instant.astimezone(UTC)
    return f"{utc.year:04d}{utc:%m%d}.{(utc.hour * 60 + utc.minute) // 15:02d}"


def chunk_start(chunk: str) -> datetime:
    """Give the UTC instant at which a chunk begins; raise `ValueError` for what is no chunk."""
    day, _, index = chunk.partition(".")
    if not re.fullmatch(r"[0-9]{8}\.[0-9]{2}", chunk) or int(index) > 95:
        raise ValueError(f"{chunk!r} is no chunk: YYYYMMDD.CC with CC from 00 to 95 is")
    return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC) + int(index) * CHUNK


def is_chunk(text: str) -> bool:
    """Tell whether ``text`` names a chunk of a day that exists."""
    try:
        chunk_start(text)
    except ValueError:
        return False
    return True


def load_healpix() -> None:
    """Load what `healpix_pixel` needs: seconds on a small board, best spent while one has to wait anyway."""
    healpix_pixel(0.0, 0.0)


def healpix_pixel(ra_deg: float, dec_deg: float) -> int:
    """Give the HEALPix pixel (NSIDE 128, RING) of an ICRS position in degrees.

    Raises
    ------
    ValueError
        If the position is not on the sky.
    """
    if not (-360.0 <= ra_deg <= 360.0 and -90.0 <= dec_deg <= 90.0):
        raise ValueError(f"RA {ra_deg} DEC {dec_deg} (degrees) is no position on the sky")
    # Imported here: astropy costs 40 MB and half a second, and most processes never need a pixel.
    from astropy.units import deg
    from astropy_healpix import lonlat_to_healpix

    return int(lonlat_to_healpix(ra_deg * deg, dec_deg * deg, NSIDE, order="ring"))
