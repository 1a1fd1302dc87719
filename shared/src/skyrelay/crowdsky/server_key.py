"""The chunk key that the server computes for a file, from its header. Pure."""

from __future__ import annotations

from skyrelay.domain.chunk import UNKNOWN_PIXEL, ChunkKey, chunk_of, healpix_pixel
from skyrelay.fits_header import FitsHeader, date_obs


def server_chunk_key(header: FitsHeader) -> str | None:
    """Give the key of DATE-OBS, RA and DEC; `None` without DATE-OBS, since the server takes no such file."""
    start = date_obs(header)
    return None if start is None else str(ChunkKey(chunk_of(start), _pixel(header)))


def _pixel(header: FitsHeader) -> int:
    ra_deg, dec_deg = header.number("RA"), header.number("DEC")
    if ra_deg is None or dec_deg is None:
        return UNKNOWN_PIXEL
    try:
        return healpix_pixel(ra_deg, dec_deg)
    except ValueError:
        return UNKNOWN_PIXEL
