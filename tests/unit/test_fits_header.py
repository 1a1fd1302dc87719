"""FITS headers: what astropy writes, we read; what is broken gets a typed error; what is private goes."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.fits_header import (
    BLOCK_BYTES,
    MAX_BLOCKS,
    HeaderIncomplete,
    NotFits,
    date_obs,
    parse_header,
    promised_size,
    read_header,
    without_location,
)
from support.left_out import left_out

REAL_FRAMES = Path(__file__).parents[2] / "../shared/data/seestar-m94"
_PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200)
_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    _PRINTABLE.filter(lambda text: not text.endswith((" ", "&"))),
)
# These say how the file is built, or carry no value.
_STRUCTURE = {"SIMPLE", "XTENSION", "BITPIX", "EXTEND", "GROUPS", "BZERO", "BSCALE", "BLANK", "END"}
_COMMENTARY = {"COMMENT", "HISTORY", "CONTINUE"}
_KEYWORDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", min_size=1, max_size=8).filter(
    lambda keyword: keyword not in _STRUCTURE | _COMMENTARY and not keyword.startswith("NAXIS")
)
_HOME = {
    "SITELONG": 16.123456,
    "SITELAT": 48.654321,
    "SITEELEV": 171.5,
    "LAT-OBS": 48.654321,
    "OBSGEO-X": 4085123.5,
}


def as_bytes(cards: dict[str, object], shape: tuple[int, ...] = (4, 6), *, checksum: bool = False) -> bytes:
    """Write a FITS file as astropy does."""
    hdu = fits.PrimaryHDU(np.zeros(shape, dtype=np.uint16))
    for keyword, value in cards.items():
        hdu.header[keyword] = value
    stream = io.BytesIO()
    hdu.writeto(stream, checksum=checksum)
    return stream.getvalue()


def is_same(read: object, written: object) -> bool:
    """Compare; a card has no room for a number's last digits."""
    if isinstance(written, float) and isinstance(read, int | float):
        return math.isclose(read, written, rel_tol=1e-12)
    return type(read) is type(written) and read == written


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_KEYWORDS, _VALUES, max_size=50))
def test_cards_that_astropy_writes_read_back(cards: dict[str, object]) -> None:
    data = as_bytes(cards)
    header = parse_header(data)
    assert [key for key in cards if not is_same(header.cards.get(key), cards[key])] == []
    assert promised_size(header) == len(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3 * BLOCK_BYTES))
def test_arbitrary_bytes_give_a_typed_error(data: bytes) -> None:
    with pytest.raises((HeaderIncomplete, NotFits)):
        parse_header(data)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=80, max_size=80), max_size=60))
def test_arbitrary_cards_never_break_the_reader(cards: list[bytes]) -> None:
    data = b"SIMPLE  =                    T".ljust(80) + b"".join(cards) + b"END".ljust(80)
    header = parse_header(data)
    assert header.cards["SIMPLE"] is True
    assert header.length % BLOCK_BYTES == 0


@pytest.mark.parametrize("kept", [0, 5, 79, 80, 2879, 2880])
def test_a_header_cut_short_may_still_come(kept: int) -> None:
    data = as_bytes({f"KEY{number}": number for number in range(60)})
    with pytest.raises(HeaderIncomplete):
        parse_header(data[:kept])


@pytest.mark.parametrize("written", [b"", b"SIMPLE  =                    T".ljust(80)])
@pytest.mark.parametrize("size", [4096, (MAX_BLOCKS + 1) * BLOCK_BYTES])
def test_a_file_of_zeros_is_not_written_yet(written: bytes, size: int) -> None:
    with pytest.raises(HeaderIncomplete):
        parse_header(written.ljust(size, b"\0"))


def test_a_header_without_end_is_given_up_after_the_bound() -> None:
    endless = b"SIMPLE  =                    T".ljust(80) + b" " * (MAX_BLOCKS * BLOCK_BYTES)
    with pytest.raises(NotFits, match="no END"):
        parse_header(endless)


def test_another_kind_of_file_is_not_read_to_its_end() -> None:
    stream = io.BytesIO(b"\xff\xd8\xff\xe0" + bytes(10 * BLOCK_BYTES))
    with pytest.raises(NotFits):
        read_header(stream.read)
    assert stream.tell() == BLOCK_BYTES


def test_a_file_that_calls_itself_not_simple_is_refused() -> None:
    with pytest.raises(NotFits):
        parse_header(b"SIMPLE  =                    F".ljust(80) + b"END".ljust(80))


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("BITPIX", 12),
        ("NAXIS", -1),
        ("NAXIS", 1000),
        ("NAXIS1", -5),
        ("NAXIS2", None),
        ("NAXIS2", "T"),
        ("BITPIX", 16.5),
    ],
)
def test_impossible_dimensions_promise_nothing(card: str, value: object) -> None:
    cards = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 2, "NAXIS1": 3, "NAXIS2": 4, card: value}
    lines = [f"{key:8}= {number!s:>20}".encode() for key, number in cards.items() if number is not None]
    data = b"".join(line.replace(b"'", b"").ljust(80) for line in [*lines, b"END"])
    with pytest.raises(NotFits):
        promised_size(parse_header(data))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-27T01:20:32.955368", datetime(2025, 3, 27, 1, 20, 32, 955368, UTC)),
        ("2025-03-27T01:20:32", datetime(2025, 3, 27, 1, 20, 32, tzinfo=UTC)),
        ("2025-03-27T01:20:32.5Z", datetime(2025, 3, 27, 1, 20, 32, 500000, UTC)),
        ("2025-03-27T01:20:32.1234567", datetime(2025, 3, 27, 1, 20, 32, 123456, UTC)),
        ("2025-03-27", None),
        ("2025-02-30T01:20:32", None),
        ("2025-03-27T25:20:32", None),
        ("2025-03-27T01:20:32+02:00", None),
        ("٢٠٢٥-03-27T01:20:32", None),
        ("", None),
    ],
)
def test_date_obs_is_utc_or_unknown(text: str, expected: datetime | None) -> None:
    data = (
        b"SIMPLE  =                    T".ljust(80)
        + f"DATE-OBS= '{text}'".encode().ljust(80)
        + b"END".ljust(80)
    )
    assert date_obs(parse_header(data)) == expected


def test_a_time_scale_other_than_utc_is_not_taken_for_utc() -> None:
    assert date_obs(parse_header(as_bytes({"DATE-OBS": "2025-03-27T01:20:32", "TIMESYS": "TAI"}))) is None


def test_a_name_that_is_not_ascii_survives() -> None:
    card = "OBJECT  = 'Ω Nebel'".encode()
    header = parse_header(b"SIMPLE  =                    T".ljust(80) + card.ljust(80) + b"END".ljust(80))
    assert header.text("OBJECT") == "Ω Nebel"


def test_location_is_blanked_and_nothing_else() -> None:
    data = as_bytes(
        {"OBJECT": "M 81", **_HOME, "HIERARCH ESO TEL GEOLAT": -24.625, "RA": 148.9, "FILTER": "LP"}
    )
    clean = without_location(data)
    assert len(clean) == len(data)
    kept = fits.Header.fromstring(clean)
    assert [card.keyword for card in kept.cards if card.keyword] == [
        card.keyword
        for card in fits.Header.fromstring(data).cards
        if card.keyword not in {*_HOME, "ESO TEL GEOLAT"}
    ]
    assert b"48.654" not in clean
    assert b"24.625" not in clean


@pytest.mark.parametrize(
    "card",
    [
        "SITELAT =             48.654321",
        "SITELAT=48.654321",
        "sitelat = 48.654321",
        " SITELAT= 48.654321",
        "COMMENT site: SITELAT=48.654321",
        "HISTORY lat 48.654321 lon 16.1",
        "HIERARCH Site Lat = 48.654321",
        "GEOLAT  = '48.654321 N'",
        "LATITUDE= '48.654321'",
        "GPS_LAT = 48.654321",
        "OBS-LAT = 48.654321",
    ],
)
def test_location_is_found_however_it_is_written(card: str) -> None:
    lines = ["SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0", card, "OBJECT  = 'M 81'", "END"]
    clean = without_location(b"".join(line.encode().ljust(80) for line in lines))
    assert b"48.654321" not in clean
    assert parse_header(clean).text("OBJECT") == "M 81"


def test_a_long_location_goes_with_its_continuation() -> None:
    clean = without_location(as_bytes({"SITELAT": "somewhere " * 12 + "48.654321", "OBJECT": "M 81"}))
    assert b"48.654321" not in clean
    assert b"somewhere" not in clean
    assert parse_header(clean).text("OBJECT") == "M 81"


@pytest.mark.parametrize("card", ["LONPOLE", "LATPOLE", "RA", "DEC", "EXPTIME", "GAIN", "CRVAL1"])
def test_the_sky_is_no_location(card: str) -> None:
    data = as_bytes({card: 123.5})
    assert without_location(data) == data


def test_location_in_an_extension_goes_too_and_the_rest_still_verifies() -> None:
    stream = io.BytesIO()
    first = fits.PrimaryHDU(np.arange(24, dtype=np.uint16).reshape(4, 6), fits.Header(_HOME))
    second = fits.ImageHDU(np.arange(6, dtype=np.int16), fits.Header(_HOME))
    fits.HDUList([first, second]).writeto(stream, checksum=True)
    clean = without_location(stream.getvalue())
    assert b"48.654321" not in clean
    with fits.open(
        io.BytesIO(clean), checksum=True
    ) as hdus:  # a wrong checksum warns, and warnings are errors
        assert np.array_equal(hdus[0].data, first.data)
        assert np.array_equal(hdus[1].data, second.data)


def test_a_table_promises_its_heap_too() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("words", "PA()", array=["a" * 2000, "b" * 3000])])
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(header=fits.Header(_HOME))]).writeto(stream)
    clean = without_location(stream.getvalue())  # only who skips the heap rightly finds the last header
    assert b"48.654321" in stream.getvalue()
    assert b"48.654321" not in clean


def test_what_cannot_be_read_is_not_called_clean() -> None:
    data = as_bytes(_HOME)
    with pytest.raises(HeaderIncomplete):
        without_location(data[:800])


def test_a_header_shows_no_values() -> None:
    assert "48.65" not in repr(parse_header(as_bytes(_HOME)))


@pytest.fixture
def real_frame() -> Path:
    """Give a frame of a real telescope."""
    frames = sorted(REAL_FRAMES.glob("*.fit")) if REAL_FRAMES.is_dir() else []
    if not frames:
        left_out("needs the real frames, not here")
    return frames[0]


def test_a_real_frame_is_read(real_frame: Path) -> None:
    with real_frame.open("rb") as stream:
        header = read_header(stream.read)
    assert promised_size(header) == real_frame.stat().st_size == 4_152_960
    assert date_obs(header) == datetime(2025, 3, 27, 1, 20, 32, 955368, UTC)
    assert (header.text("TELESCOP"), header.number("EXPTIME"), header.integer("GAIN")) == (
        "S50_1d3fe189",
        10.0,
        80,
    )
