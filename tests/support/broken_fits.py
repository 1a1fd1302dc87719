"""Two hundred broken FITS files, made here byte by byte and the same ones each time.

Run as a program it writes them into a folder, to try others on: ``python -m support.broken_fits DIR``.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from skyrelay.fits_header import MAX_BLOCKS
from support.fits_files import BLOCK, fits_bytes, header

_MB = 10**6
_CARD = 80
_SAME_NOISE = random.Random  # noise for files, each time the same: no secrets


class Answer(StrEnum):
    """What our rules say of a file."""

    INCOMPLETE = "its header is not all there: it may still come"
    NOT_FITS = "no FITS header, whatever may follow"
    NO_SIZE = "its header promises no size"
    CUT_SHORT = "fewer bytes than its header promises"
    WHOLE = "readable, however odd"
    NOT_OPENED = "no regular file: nobody opens it"


@dataclass(frozen=True)
class Broken:
    """One file: its name, its first bytes, what it must be answered.

    Attributes
    ----------
    size
        Bytes of the whole file; what lies behind ``content`` is a hole. `None`: no hole.
    make
        Makes what is no regular file in its place.
    """

    name: str
    content: bytes
    answer: Answer
    size: int | None = None
    make: Callable[[Path], None] | None = None

    def write(self, folder: Path) -> Path:
        """Lay it down in a folder."""
        path = folder / self.name
        if self.make is not None:
            self.make(path)
            return path
        path.write_bytes(self.content)
        if self.size is not None:
            os.truncate(path, self.size)
        return path


def broken_files() -> tuple[Broken, ...]:
    """Give them all, in their order."""
    families = (
        _cut_headers, _cut_data, _bitpix, _axes_count, _axes, _giants, _dates, _numbers, _letters, _continued,
        _misaligned, _endless, _claims, _twice, _zeros, _disguised, _not_simple, _pixels, _no_files,
    )  # fmt: skip
    return tuple(broken for family in families for broken in _named(family))


def _named(family: Callable[[], Iterator[Broken]]) -> Iterator[Broken]:
    title = family.__name__.strip("_")
    for number, each in enumerate(family()):
        yield Broken(f"{title}-{number:02}.fit", each.content, each.answer, each.size, each.make)


def _file(content: bytes, answer: Answer, size: int | None = None) -> Broken:
    return Broken("", content, answer, size)


def _cards(*lines: str | bytes, fill: bytes = b" ") -> bytes:
    """Write cards as they are given, cut or filled to their 80 bytes, and pad them to a block."""
    raw = b"".join(_as_bytes(line)[:_CARD].ljust(_CARD) for line in lines)
    return raw + fill * (-len(raw) % BLOCK)


def _as_bytes(line: str | bytes) -> bytes:
    return line.encode() if isinstance(line, str) else line


def _with(*lines: str | bytes) -> bytes:
    """Write a whole small image whose header has these lines, too."""
    return _cards(*_GOOD, *lines, "END") + bytes(BLOCK)


_GOOD = ("SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2",
         "NAXIS1  =                    8", "NAXIS2  =                    4")  # fmt: skip


def _cut_headers() -> Iterator[Broken]:
    long = _cards(*_GOOD, *(f"CARD{number:<4}= {number:>20}" for number in range(45)), "END")
    for kept in (0, 1, 5, 8, 9, 10, 30, 79, 80, 81, 2879, 2880, 3000, 4000, 4079):
        yield _file(long[:kept], Answer.INCOMPLETE)
    for kept in (4080, 4081, 5759):  # END is there, its padding is not
        yield _file(long[:kept], Answer.CUT_SHORT)


def _cut_data() -> Iterator[Broken]:
    whole = fits_bytes(bytes(2 * BLOCK), NAXIS1=BLOCK, NAXIS2=1)
    for missing in (1, 2, 79, 80, 2879, 2880, 2881, 5759, 5760):
        yield _file(whole[:-missing], Answer.CUT_SHORT)


def _bitpix() -> Iterator[Broken]:
    values: tuple[object, ...] = (0, 1, 7, -8, -16, 15, 128, 10**18, "16", 16.5, True, None)
    for value in values:
        yield _file(fits_bytes(BITPIX=value), Answer.NO_SIZE)


def _axes_count() -> Iterator[Broken]:
    for value in (-1, -999_999, 1000, 10**9, 10**60, "2", 2.5, True, None):
        yield _file(fits_bytes(NAXIS=value), Answer.NO_SIZE)


def _axes() -> Iterator[Broken]:
    for axis in ("NAXIS1", "NAXIS2"):
        for value in (-1, -(2**63), "8", 1.5, None):
            yield _file(fits_bytes(**{axis: value}), Answer.NO_SIZE)


def _giants() -> Iterator[Broken]:
    for length in (2**31 - 1, 2**31, 2**40):
        yield _file(fits_bytes(NAXIS1=length), Answer.CUT_SHORT)
    for length in (2**63, 2**64, 10**60):
        yield _file(fits_bytes(NAXIS1=length), Answer.NO_SIZE)
    for length, answer in (
        (10**60, Answer.NO_SIZE),
        (2, Answer.NO_SIZE),
        (1, Answer.WHOLE),
        (0, Answer.WHOLE),
    ):
        yield _file(_many_axes(999, length) + bytes(BLOCK), answer)


def _many_axes(number: int, length: int) -> bytes:
    axes = {f"NAXIS{axis}": length for axis in range(1, number + 1)}
    return header({"SIMPLE": True, "BITPIX": 16, "NAXIS": number, **axes})


def _dates() -> Iterator[Broken]:
    dates: tuple[object, ...] = (
        "NaN", "inf", "", "0000-00-00T00:00:00", "2025-13-01T00:00:00", "2025-02-30T00:00:00",
        "2025-03-27T24:00:00", "2025-03-27T23:59:60", "9999-12-31T23:59:59.999999", "0001-01-01T00:00:00",
        "10000-01-01T00:00:00", "27/03/25", "2025-03-27T00:00:00+99:99",
        20250327, True, "2025-03-27T00:00:00." + "9" * 40,
    )  # fmt: skip
    for date in dates:
        yield _file(fits_bytes(DATE_OBS=date), Answer.WHOLE)
    yield _file(_with("DATE-OBS= '\u0662\u0660\u0662\u0665-03-27T00:00:00'"), Answer.WHOLE)


def _numbers() -> Iterator[Broken]:
    for word in (
        "NaN",
        "-inf",
        "1E999",
        "-1E999",
        "1D308",
        "9" * 69,
        "0x10",
        "1_000",
        "--1",
        "1E",
        ".",
        "(1, 2)",
    ):
        yield _file(_with(*(f"{keyword:<8}= {word}" for keyword in ("EXPTIME", "RA", "DEC"))), Answer.WHOLE)


def _letters() -> Iterator[Broken]:
    for text in (
        b"\xff" * 68,
        b"\x80",
        b"caf\xe9",
        b"\0" * 20,
        b"\x1b[2J\r\n",
        "β Cen 織女".encode(),
        b"\xed\xa0\x80",
    ):
        yield _file(_with(b"OBJECT  = '" + text + b"'"), Answer.WHOLE)
    yield _file(_with(b"\xff" * _CARD), Answer.WHOLE)
    yield _file(_with("ÄÖÜßÄÖÜß= 5"), Answer.WHOLE)
    yield _file(b"\xef\xbb\xbf" + fits_bytes(), Answer.NOT_FITS)
    yield _file(fits_bytes().decode("latin-1").encode("utf-16"), Answer.NOT_FITS)


def _continued() -> Iterator[Broken]:
    for lines in (
        ("CONTINUE  'of nothing'",),
        ("RA      = 5.0", "CONTINUE  'of a number'"),
        ("OBJECT  = 'no ampersand'", "CONTINUE  'unwanted'"),
        ("OBJECT  = 'dangling&'",),
        ("OBJECT  = 'M 81&'", "CONTINUE  unquoted"),
        ("OBJECT  = 'M 81&'", "CONTINUE= 'with an equals sign'"),
        ("OBJECT  = 'M 81&'", "COMMENT between", "CONTINUE  '& too late'"),
        ("OBJECT  = 'it''s&'", "CONTINUE  '''''&'", "CONTINUE  ''''"),
        ("OBJECT  = 'open",),
        ("OBJECT  = '&'", *["CONTINUE  '&'"] * 3000),
        ("OBJECT  = '&'", *[f"CONTINUE  '{'x' * 66}&'"] * 3000),
    ):
        yield _file(_with(*lines), Answer.WHOLE)


def _misaligned() -> Iterator[Broken]:
    whole = fits_bytes()
    for shift in (1, 79, 80, 2880):
        yield _file(b" " * shift + whole, Answer.NOT_FITS)
    yield _file(whole[:_CARD] + b" " + whole[_CARD:], Answer.INCOMPLETE)  # no END stands where a card begins
    yield _file(whole[:_CARD] + whole[_CARD + 1 :], Answer.INCOMPLETE)
    lines = [*_GOOD, "END"]
    yield _file("\n".join(line.ljust(_CARD) for line in lines).encode(), Answer.INCOMPLETE)
    yield _file("\r\n".join(lines).encode(), Answer.INCOMPLETE)
    yield _file(whole + b"one byte too many"[:1], Answer.WHOLE)


def _endless() -> Iterator[Broken]:
    comment = "COMMENT " + "x" * 72
    for last in ("end", "ENDX", "END = 5", "END / that was it", "COMMENT END", " END", b"\0END"):
        yield _file(_cards(*_GOOD, last), Answer.INCOMPLETE)
    for blocks, answer in ((99, Answer.INCOMPLETE), (MAX_BLOCKS, Answer.NOT_FITS), (200, Answer.NOT_FITS)):
        yield _file(_cards(_GOOD[0], *[comment] * (36 * blocks - 1)), answer)


def _claims() -> Iterator[Broken]:
    comment = "COMMENT " + "x" * 72
    yield _file(_cards(*_GOOD), Answer.INCOMPLETE, 100 * _MB)
    yield _file(_cards(_GOOD[0], *[comment] * 3600), Answer.NOT_FITS, 100 * _MB)
    yield _file(_cards(_GOOD[0], "HEADLEN = 100000000"), Answer.INCOMPLETE)
    yield _file(fits_bytes(), Answer.WHOLE, 1000 * _MB)  # far more than was promised


def _twice() -> Iterator[Broken]:
    for line in (
        "SIMPLE  =                    F", "BITPIX  =                    8", "NAXIS   =                   -1",
        "NAXIS1  =                99999", "NAXIS2  =                   -4",
    ):  # fmt: skip
        yield _file(_with(line), Answer.WHOLE)  # the first of each counts
    yield _file(_with(*[f"OBJECT  = 'number {number}'" for number in range(2000)]), Answer.WHOLE)
    yield _file(_cards(*_GOOD, "END", *_GOOD, "END") + bytes(BLOCK), Answer.WHOLE)
    yield _file(_cards("SIMPLE  =                    F", *_GOOD, "END"), Answer.NOT_FITS)


def _zeros() -> Iterator[Broken]:
    for size in (1, 80, BLOCK, MAX_BLOCKS * BLOCK, 1000 * _MB):
        yield _file(b"", Answer.INCOMPLETE, size)
    yield _file(fits_bytes()[:400], Answer.INCOMPLETE, 5760)
    yield _file(_cards(*_GOOD, "END", fill=b"\0") + bytes(BLOCK), Answer.WHOLE)


def _disguised() -> Iterator[Broken]:
    whole = fits_bytes()
    jpeg, png = b"\xff\xd8\xff\xe0" + bytes(500), b"\x89PNG\r\n\x1a\n" + bytes(500)
    for content in (
        gzip.compress(whole, mtime=0), bz2.compress(whole), lzma.compress(whole), b"PK\x03\x04" + whole,
        jpeg, png, b"<!DOCTYPE html><title>404</title>", b'{"error": "no such file"}', b"%PDF-1.7\n",
        b"\x7fELF" + bytes(60),
        b"XISF0100" + bytes(99), b"II*\0" + bytes(99), b"Ein Text." * 500,
        _SAME_NOISE(13).randbytes(2 * BLOCK),
    ):  # fmt: skip
        yield _file(content, Answer.NOT_FITS)


def _not_simple() -> Iterator[Broken]:
    for first in ("simple  =                    T", "SIMPLE =                     T", "SIMPLE   T",
                  "SIMPLE  =", "SIMPLE  = / no value", "XTENSION= 'IMAGE   '"):  # fmt: skip
        yield _file(_cards(first, *_GOOD[1:], "END") + bytes(BLOCK), Answer.NOT_FITS)


def _pixels() -> Iterator[Broken]:
    """Give images whose header is in order, and whose pixels are not."""
    noise = _SAME_NOISE(31).randbytes(8 * BLOCK)
    for bitpix in (8, 16, 32, 64, -32, -64):
        wide = 8 * BLOCK * 8 // abs(bitpix) // 8
        yield _file(fits_bytes(noise, BITPIX=bitpix, NAXIS1=wide, NAXIS2=8), Answer.WHOLE)
    for value in (float("nan"), float("inf"), 3e38):
        pair = struct.pack(">2f", value, -value)
        yield _file(fits_bytes(pair * 16, BITPIX=-32), Answer.WHOLE)
    for axes in ({"NAXIS": 0}, {"NAXIS": 1}, {"NAXIS1": 0}, {"NAXIS": 4, "NAXIS3": 1, "NAXIS4": 1}):
        yield _file(fits_bytes(**axes), Answer.WHOLE)
    for shape in (
        {"NAXIS1": 20_000, "NAXIS2": 20_000},
        {"NAXIS1": 1, "NAXIS2": 10**8},
        {"NAXIS1": 10**8, "NAXIS2": 1},
    ):
        yield _file(fits_bytes(**shape), Answer.WHOLE, 1000 * _MB)


def _no_files() -> Iterator[Broken]:
    def beside(path: Path) -> None:  # a link to what is good is no file of this folder, either
        target = path.with_suffix(".elsewhere")
        target.write_bytes(fits_bytes())
        path.symlink_to(target)

    def listening(path: Path) -> None:
        _listen(path)

    makers: Mapping[str, Callable[[Path], None]] = {
        "link": beside,
        "link to itself": lambda path: path.symlink_to(path.name),
        "link to nothing": lambda path: path.symlink_to("nowhere"),
        "link to zeros without end": lambda path: path.symlink_to("/dev/zero"),
        "pipe that nobody fills": os.mkfifo,
        "socket": listening,
        "folder": Path.mkdir,
    }
    for make in makers.values():
        yield Broken("", b"", Answer.NOT_OPENED, make=make)


def _listen(path: Path) -> None:
    """Bind a socket to a path, however long that is (a name of one may have 107 bytes)."""
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as bound:
        link = Path(short) / "d"
        link.symlink_to(path.parent)
        bound.bind(str(link / path.name))


def main(folder: Path) -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for broken in broken_files():
        broken.write(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
