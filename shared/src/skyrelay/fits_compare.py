"""Whether two FITS files are the same observation: pixels, and the cards that say what was observed.

CrowdSky works on what it is sent: it blanks coordinates, adds cards of its own, and may store the pixels
in another type. So values are compared, not bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skyrelay.fits_header import FitsError, read_header_bytes, without_location

# What the server reads of a header, without the place, which is nobody's business there.
CARDS = (
    "TELESCOP", "OBJECT", "RA", "DEC", "DATE-OBS", "EXPTIME", "TOTALEXP", "FILTER", "GAIN", "CCD-TEMP",
    "FOCUSPOS", "EQMODE", "PROGRAM",
)  # fmt: skip
_TOLERANCE = 1e-6  # relative: a number that was written again with fewer digits is the same
_ROWS = 256  # compared at once: 2 MB of a Seestar's stack


def differences(ours: Path, theirs: Path, *, without_place: bool) -> Iterator[str]:
    """Name what differs between our file and the server's copy of it; nothing, if they are the same.

    Parameters
    ----------
    without_place
        Whether the copy was to be kept without the site's coordinates.

    Raises
    ------
    FitsError
        If a header cannot be read.
    OSError
        If a file cannot be read.
    """
    from astropy.io import fits

    if without_place and tells_place(theirs):
        yield "the server's copy tells where the telescope stands"
    with fits.open(ours, memmap=False) as mine, fits.open(theirs, memmap=False) as other:
        image, copy = _image_of(mine), _image_of(other)
        yield from _cards_that_differ(image.header, {**other[0].header, **copy.header})
        yield from _pixels_that_differ(image, copy)


def tells_place(file: Path) -> bool:
    """Tell whether a file's header holds coordinates of a site."""
    with file.open("rb") as opened:
        head = read_header_bytes(opened.read)
    return without_location(head) != head


def _image_of(hdus: Any) -> Any:
    """Give the first part of a file that holds pixels (they may lie compressed in an extension)."""
    found = next((hdu for hdu in hdus if hdu.is_image and hdu.shape), None)
    if found is None:
        raise FitsError("there is no image in the file")
    return found


def _cards_that_differ(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for name in CARDS:
        mine = ours.get(name)
        if mine is None or _same(mine, theirs.get(name)):
            continue
        yield f"{name} is {mine!r} here and {theirs.get(name)!r} there"


def _same(mine: Any, other: Any) -> bool:
    if isinstance(mine, str):
        return isinstance(other, str) and mine.strip() == other.strip()
    if isinstance(mine, bool) or not isinstance(other, int | float):
        return bool(mine == other)
    return math.isclose(float(mine), float(other), rel_tol=_TOLERANCE)


def _pixels_that_differ(image: Any, copy: Any) -> Iterator[str]:
    import numpy as np

    if image.shape != copy.shape:
        yield f"the image has {_by(image.shape)} pixels here and {_by(copy.shape)} there"
        return
    different = total = 0
    for part in _parts(image.shape):
        mine, other = image.section[part], copy.section[part]
        equal = (mine == other) | (np.isnan(mine) & np.isnan(other))
        different, total = different + int((~equal).sum()), total + equal.size
    if different:
        yield f"{different} of {total} pixels differ"


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[slice | int, ...]]:
    *planes, height, _ = (1, *shape) if len(shape) == 1 else shape
    if len(shape) == 1:
        yield (slice(None),)
        return
    for plane in _planes(tuple(planes)):
        for row in range(0, height, _ROWS):
            yield (*plane, slice(row, min(row + _ROWS, height)), slice(None))


def _planes(planes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if not planes:
        yield ()
        return
    for first in range(planes[0]):
        for rest in _planes(planes[1:]):
            yield (first, *rest)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(str(length) for length in reversed(shape))
