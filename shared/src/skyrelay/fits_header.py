"""FITS headers, bytes in and typed values out, without astropy (40 MB, half a second).

The header of a sub-frame or stack tells when it was taken and how long the file must be; that is
asked of every file, often over a weak Wi-Fi, so it works on the first few kilobytes alone.
Source: FITS Standard 4.0, chapters 3 to 5; the cards of 55 real frames of an S50.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from skyrelay.errors import PermanentError, SkyrelayError, TransientError

BLOCK_BYTES = 2880  # headers and data are padded to multiples of this
CARD_BYTES = 80
MAX_BLOCKS = 100  # 288 kB, 3,600 cards: a Seestar writes 2 blocks, a plate-solved stack some 10
_MAX_AXES = 999  # the standard's
_MAX_SIZE = 2**63 - 1  # bytes: no file system holds a longer file, no column of ours a larger number
_BITPIX = frozenset({8, 16, 32, 64, -32, -64})
# A card that names a place: SITELAT, SITELONG (Seestar), LAT-OBS, OBSGEO-X (FITS), GEOLAT (ESO), LATITUDE, …
_PLACE = re.compile(
    r"(?:SITE|OBS|OBSGEO|OBSERVATORY|GEO|GPS|TEL|TELESCOPE|HOME)?"
    r"(?:LATI?T?U?D?E?|LONG?I?T?U?D?E?|ELEVA?T?I?O?N?|ALTITU?D?E?)(?:OBS)?"
    r"|OBSGEO[XYZBLH]|(?:SITE|OBS|GEO|GPS|TEL)ALT|ALTOBS|HGTOBS|SITEHT"
)
_KEYWORD_SEPARATORS = re.compile(r"[-_\s]+")
_COMMENTARY = frozenset({"COMMENT", "HISTORY", "HIERARCH", ""})
_BLANK_CARD = b" " * CARD_BYTES
_INSTANT = re.compile(r"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?Z?", re.ASCII)
_TEXT = re.compile(r" *'(?P<text>(?:[^']|'')*)'")
_WORD = re.compile(r" *(?P<word>[^ /]+) *(?:/.*)?", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[ED][+-]?[0-9]+)?", re.IGNORECASE)
_LOGICAL = {"T": True, "F": False}
_VALUE_INDICATOR = "= "

CardValue = str | int | float | bool


class FitsError(SkyrelayError):
    """These bytes do not give a FITS header."""


class HeaderIncomplete(FitsError, TransientError):  # noqa: N818 - the state it names: more bytes may come
    """The bytes end before the header's END card: the file is still being written, or was cut short."""


class NotFits(FitsError, PermanentError):  # noqa: N818 - the state it names
    """The bytes are no FITS header, whatever may follow them."""


@dataclass(frozen=True, slots=True)
class FitsHeader:
    """The first header of a FITS file.

    Attributes
    ----------
    cards
        Value of each keyword that has one (the first, where a keyword is repeated).
    length
        Bytes from the file's start to the data, padding included.
    """

    cards: Mapping[str, CardValue]
    length: int

    def __repr__(self) -> str:
        """Leave the values out: two of them are somebody's home."""
        return f"FitsHeader({len(self.cards)} cards, length={self.length})"

    def text(self, keyword: str) -> str | None:
        """Give a card's text; `None` when there is no such text."""
        value = self.cards.get(keyword)
        return value if isinstance(value, str) else None

    def number(self, keyword: str) -> float | None:
        """Give a card's finite number, written as a number; `None` when there is none."""
        value = self.cards.get(keyword)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def integer(self, keyword: str) -> int | None:
        """Give a card's whole number; `None` when there is none."""
        value = self.cards.get(keyword)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_header(data: bytes) -> FitsHeader:
    """Read the header at the start of ``data``; what follows it is not looked at.

    Raises
    ------
    HeaderIncomplete
        If ``data`` ends before the END card.
    NotFits
        If it does not begin as FITS does, or has no END within `MAX_BLOCKS` blocks.
    """
    return _parse_hdu(data, 0, "SIMPLE", (b"SIMPLE  =",))


def read_header(read: Callable[[int], bytes]) -> FitsHeader:
    """Read a header block by block from a binary file's ``read`` (or anything that reads on).

    Raises
    ------
    HeaderIncomplete, NotFits
        As `parse_header` does.
    """
    return parse_header(read_header_bytes(read))


def read_header_bytes(read: Callable[[int], bytes]) -> bytes:
    """Read as many blocks as the header has; all that there is when it has no END.

    Raises
    ------
    NotFits
        If the first block does not begin as FITS does (so a film is not read for its END).
    """
    data = b""
    while len(data) < MAX_BLOCKS * BLOCK_BYTES and (more := read(BLOCK_BYTES)):
        data += more
        _check_start(data, (b"SIMPLE  =",))
        if _end_of_header(data, 0) is not None:
            break
    return data


def promised_size(header: FitsHeader) -> int:
    """Give the least size in bytes of the whole file: header and data, each padded to a block.

    Extensions, if there are any, come after that.

    Raises
    ------
    NotFits
        If the cards that say so are missing or impossible.
    """
    bitpix, axes = header.integer("BITPIX"), header.integer("NAXIS")
    if bitpix not in _BITPIX or axes is None or not 0 <= axes <= _MAX_AXES:
        raise NotFits(f"the header promises no size: BITPIX {bitpix}, NAXIS {axes}")
    lengths = [header.integer(f"NAXIS{axis}") for axis in range(1, axes + 1)]
    if any(length is None or length < 0 for length in lengths):
        raise NotFits(f"the header promises no size: axes {lengths}")
    values = math.prod(length for length in lengths if length is not None) if axes else 0
    size = header.length + _padded(_group_factor(header, values) * abs(bitpix) // 8)
    if size > _MAX_SIZE:  # not named: it may have 70,000 digits, which Python refuses to write
        raise NotFits(f"the header promises more bytes than any file holds, on {axes} axes")
    return size


def date_obs(header: FitsHeader) -> datetime | None:
    """Give the aware UTC start of the exposure; `None` when DATE-OBS is missing or no moment in UTC.

    Source: DATE-OBS of a Seestar is UTC and the start of the exposure (read off 55 real frames).
    """
    match = _INSTANT.fullmatch(header.text("DATE-OBS") or "")
    if match is None or (header.text("TIMESYS") or "UTC").upper() not in {"UTC", "UT", "GMT"}:
        return None
    microseconds = int((match["fraction"] or "").ljust(6, "0")[:6])
    try:
        second = datetime.strptime(match["second"], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return second + timedelta(microseconds=microseconds)


def without_location(data: bytes) -> bytes:
    """Blank every card that tells where the telescope stands; the length stays as it is.

    Parameters
    ----------
    data
        A header, or a whole file: then the headers of its extensions are blanked too.

    Returns
    -------
    bytes
        The same with blank cards in the places of SITELONG, SITELAT, … (and of a CHECKSUM that
        would no longer be right). Data are not touched.

    Raises
    ------
    HeaderIncomplete, NotFits
        As `parse_header` does: what cannot be read cannot be called clean.
    """
    clean = bytearray(data)
    start, kinds = 0, (b"SIMPLE  =",)
    while start < len(data) and (start == 0 or data.startswith(b"XTENSION", start)):
        hdu = _parse_hdu(data, start, "XTENSION" if start else "SIMPLE", kinds)
        _blank_location(clean, start, start + hdu.length)
        start, kinds = start + promised_size(hdu), (b"XTENSION=",)
    return bytes(clean)


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _group_factor(header: FitsHeader, values: int) -> int:
    """Count an extension's values, groups and heap included; elsewhere those cards say nothing."""
    if "XTENSION" not in header.cards:
        return values
    groups = header.integer("GCOUNT") if "GCOUNT" in header.cards else 1
    parameters = header.integer("PCOUNT") if "PCOUNT" in header.cards else 0
    if groups is None or parameters is None or groups < 0 or parameters < 0:
        raise NotFits(f"the header promises no size: GCOUNT {groups}, PCOUNT {parameters}")
    return groups * (parameters + values)


def _check_start(data: bytes, starts: tuple[bytes, ...], at: int = 0) -> None:
    """Refuse what no further byte can turn into FITS; a file of nothing or of zeros may yet be written."""
    beginning = data[at : at + CARD_BYTES]
    if not beginning.strip(b"\0"):
        return
    if not any(start.startswith(beginning[: len(start)]) for start in starts):
        raise NotFits("these bytes are no FITS header: it begins with SIMPLE  = T")


def _end_of_header(data: bytes, start: int) -> int | None:
    """Give where the header's cards end (before END); `None` when END is not there."""
    limit = min(len(data), start + MAX_BLOCKS * BLOCK_BYTES)
    for at in range(start, limit - CARD_BYTES + 1, CARD_BYTES):
        if data[at : at + CARD_BYTES].rstrip() == b"END":
            return at
    return None


def _parse_hdu(data: bytes, start: int, first_keyword: str, kinds: tuple[bytes, ...]) -> FitsHeader:
    _check_start(data, kinds, start)
    end = _end_of_header(data, start)
    if end is None:
        raise _no_end(data[start:])
    cards = dict(_values(data[start:end]))
    if cards.get(first_keyword) is False or first_keyword not in cards:
        raise NotFits(f"these bytes are no FITS header: {first_keyword} says so")
    return FitsHeader(MappingProxyType(cards), _padded(end - start + CARD_BYTES))


def _no_end(data: bytes) -> FitsError:
    if len(data) < MAX_BLOCKS * BLOCK_BYTES:
        return HeaderIncomplete(f"the file ends after {len(data)} bytes, before the end of its header")
    last_block = data[(MAX_BLOCKS - 1) * BLOCK_BYTES : MAX_BLOCKS * BLOCK_BYTES]
    if not last_block.strip(b"\0"):  # room was made for the file and is not filled yet
        return HeaderIncomplete("the header has no END so far, but zeros in its place")
    return NotFits(f"the header has no END in its first {MAX_BLOCKS} blocks")


def _cards(header: bytes) -> Iterator[str]:
    for at in range(0, len(header), CARD_BYTES):
        yield header[at : at + CARD_BYTES].decode("utf-8", errors="replace")


def _values(header: bytes) -> Iterator[tuple[str, CardValue]]:
    """Read the cards' values, the first of each keyword; long texts (CONTINUE) are joined."""
    values: dict[str, CardValue] = {}
    latest: str | None = None
    for card in _cards(header):
        keyword, body = _split(card)
        if keyword == "CONTINUE" and body is not None:
            _continue(values, latest, body)
            continue
        value = None if body is None else _value(body)
        latest = keyword if value is not None and keyword not in values else None
        if latest is not None and value is not None:
            values[latest] = value
    yield from values.items()


def _split(card: str) -> tuple[str, str | None]:
    """Part a card into keyword and what stands after its ``=``; `None` for a card without value."""
    keyword = card[:8].rstrip()
    if card[8:10] == _VALUE_INDICATOR:
        return keyword, card[10:]
    if keyword == "CONTINUE":
        return keyword, card[8:]
    if keyword == "HIERARCH" and "=" in card:
        name, _, body = card[8:].partition("=")
        return name.strip().upper(), body
    return keyword, None


def _continue(values: dict[str, CardValue], keyword: str | None, body: str | None) -> None:
    match = _TEXT.match(body or "")
    so_far = values.get(keyword) if keyword else None
    if match and keyword and isinstance(so_far, str) and so_far.endswith("&"):
        values[keyword] = so_far[:-1] + _unquoted(match)


def _unquoted(match: re.Match[str]) -> str:
    return match["text"].replace("''", "'").rstrip(" ")


def _value(body: str) -> CardValue | None:
    """Read a card's value; `None` where it has none that we understand."""
    quoted = _TEXT.match(body)
    if quoted:
        return _unquoted(quoted)
    match = _WORD.fullmatch(body)
    return _plain_value(match["word"]) if match else None


def _plain_value(word: str) -> CardValue | None:
    if word in _LOGICAL:
        return _LOGICAL[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if not _REAL.fullmatch(word):
        return None
    number = float(word.upper().replace("D", "E"))
    return number if math.isfinite(number) else None


def _blank_location(clean: bytearray, start: int, end: int) -> None:
    blanked, goes_on = False, False
    for at in range(start, min(end, len(clean)), CARD_BYTES):
        card = bytes(clean[at : at + CARD_BYTES]).decode("utf-8", errors="replace")
        if card.rstrip() == "END":
            break
        goes_on = goes_on if card.startswith("CONTINUE") else _tells_place(card)
        if goes_on:
            clean[at : at + CARD_BYTES] = _BLANK_CARD
            blanked = True
    if blanked:
        _blank_checksum(clean, start, end)


def _tells_place(card: str) -> bool:
    keyword, _ = _split(card)
    names = [keyword, keyword.partition("=")[0], *keyword.split()]
    if keyword in _COMMENTARY and any(character.isdecimal() for character in card):
        names += card[8:].replace("=", " ").replace(":", " ").split()
    return any(_PLACE.fullmatch(_KEYWORD_SEPARATORS.sub("", name.upper())) for name in names)


def _blank_checksum(clean: bytearray, start: int, end: int) -> None:
    for at in range(start, min(end, len(clean)), CARD_BYTES):
        if clean.startswith(b"CHECKSUM=", at):
            clean[at : at + CARD_BYTES] = _BLANK_CARD
