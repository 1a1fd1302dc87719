"""What the server reads of a FITS file: the cards of its first header.

Written apart from the product's own reader, so that the one can prove the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from skyrelay.domain.chunk import UNKNOWN_PIXEL, ChunkKey, chunk_of, healpix_pixel

BLOCK_BYTES = 2880
CARD_BYTES = 80
_MAX_BLOCKS = 100
_MAGIC = b"SIMPLE  =                    T"
_SITE_CARDS = (b"SITELONG", b"SITELAT ")
_VALUE = re.compile(r"\s*(?:'(?P<quoted>(?:[^']|'')*)'|(?P<bare>[^/]*))")


class NotFits(ValueError):  # noqa: N818 - the server's own word for it
    """The file is no FITS file that the server can use."""


@dataclass(frozen=True, slots=True)
class UploadHeader:
    """The cards that the server reads; numbers are `None` where a card has none.

    ``date_obs`` is aware UTC; ``length`` is in bytes, padding included.
    """

    date_obs: datetime | None
    ra_deg: float | None
    dec_deg: float | None
    telescop: str | None
    object_name: str | None
    filter_name: str | None
    total_exptime_s: float | None
    width: int
    height: int
    bitpix: int
    length: int

    @property
    def chunk_key(self) -> str | None:
        """The chunk key as the server computes it; `None` without DATE-OBS."""
        if self.date_obs is None:
            return None
        pixel = UNKNOWN_PIXEL
        if self.ra_deg is not None and self.dec_deg is not None:
            pixel = healpix_pixel(self.ra_deg, self.dec_deg)
        return str(ChunkKey(chunk_of(self.date_obs), pixel))


def read_upload_header(path: Path) -> UploadHeader:
    """Read the first header of a file.

    Raises
    ------
    NotFits
        If it does not begin as FITS does, or its header has no end.
    """
    block = _header_block(path)
    cards = _cards(block)
    return UploadHeader(
        date_obs=_instant(cards.get("DATE-OBS")),
        ra_deg=_number(cards.get("RA")),
        dec_deg=_number(cards.get("DEC")),
        telescop=cards.get("TELESCOP") or None,
        object_name=cards.get("OBJECT") or None,
        filter_name=cards.get("FILTER") or None,
        total_exptime_s=_number(cards.get("TOTALEXP") or cards.get("EXPTIME")),
        width=int(_number(cards.get("NAXIS1")) or 0),
        height=int(_number(cards.get("NAXIS2")) or 0),
        bitpix=int(_number(cards.get("BITPIX")) or 0),
        length=len(block),
    )


def scrub_site(path: Path) -> None:
    """Blank SITELONG and SITELAT in the file, as the server does when it is asked to."""
    block = bytearray(_header_block(path))
    for at in range(0, len(block), CARD_BYTES):
        if bytes(block[at : at + 8]) in _SITE_CARDS:
            block[at : at + CARD_BYTES] = b" " * CARD_BYTES
    with path.open("r+b") as file:
        file.write(block)


def _header_block(path: Path) -> bytes:
    header = b""
    with path.open("rb") as file:
        while len(header) < _MAX_BLOCKS * BLOCK_BYTES and (more := file.read(BLOCK_BYTES)):
            header += more
            if not header.startswith(_MAGIC):
                break
            if _has_end(more):
                return header
    raise NotFits("Invalid FITS file (bad header).")


def _has_end(block: bytes) -> bool:
    cards = (block[at : at + CARD_BYTES] for at in range(0, len(block), CARD_BYTES))
    return any(card.rstrip() == b"END" for card in cards)


def _cards(header: bytes) -> dict[str, str]:
    cards: dict[str, str] = {}
    for at in range(0, len(header), CARD_BYTES):
        card = header[at : at + CARD_BYTES].decode("ascii", errors="replace")
        value = _VALUE.match(card[10:]) if card[8:10] == "= " else None
        if value is not None:
            quoted = value["quoted"]
            text = value["bare"] if quoted is None else quoted.replace("''", "'")
            cards.setdefault(card[:8].rstrip(), text.strip())
    return cards


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _instant(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
