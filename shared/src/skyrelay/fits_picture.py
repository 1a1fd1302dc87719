"""Pictures of FITS images: only the pixels that are shown are read, then stretched to what a screen shows.

numpy is imported where it is needed: most processes never draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

from skyrelay.fits_header import FitsHeader, NotFits, promised_size, read_header

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_SOFTENING = 10.0  # of the arcsinh stretch: shows faint nebulae beside stars
_STRONG = 100.0  # of the strong one: the faintest, at the price of burnt-out stars


class Curve(StrEnum):
    """How brightness is brought to the screen."""

    ASINH = "asinh"
    STRONG = "strong"  # arcsinh, with much more of the faint
    SQRT = "sqrt"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What becomes black and what white, as percentiles of the pixels, and the curve between."""

    black: float = 1.0  # the sky's background
    white: float = 99.7  # all but the brightest stars
    curve: Curve = Curve.ASINH


NATURAL = Stretch()


def sampled(file: BinaryIO, longest_side: int) -> npt.NDArray[np.float32]:
    """Read every n-th pixel of a FITS image.

    Parameters
    ----------
    file
        The open file, at its beginning.
    longest_side
        About twice as many pixels are read along it, or all there are.

    Returns
    -------
    numpy.ndarray
        Height × width × planes (1 or 3), float32, in the file's own units without BZERO and BSCALE, which
        a stretch does away with; the first row is the image's top.

    Raises
    ------
    HeaderIncomplete
        If the header has no end.
    NotFits
        If there is no image of two dimensions, or of three with one plane or three.
    """
    import numpy as np

    header = read_header(file.read)
    if file.seek(0, 2) < promised_size(header):  # asked first: it bounds the number of axes
        raise NotFits("the file is shorter than its header says")
    height, width, planes = _shape(header)
    dtype = _DTYPES[header.integer("BITPIX") or 0]
    cube = np.memmap(file, dtype=dtype, mode="r", offset=header.length, shape=(planes, height, width))
    step = max(1, max(height, width) // (2 * longest_side))
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which a stretch leaves out
        pixels = cube[:, ::step, ::step].astype(np.float32)
    return np.moveaxis(pixels, 0, -1)[::-1]


def stretched(pixels: npt.NDArray[np.float32], stretch: Stretch = NATURAL) -> npt.NDArray[np.uint8]:
    """Bring pixels (height × width × planes) to what a screen shows; one plane becomes a grey image."""
    import numpy as np

    good = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(good, (stretch.black, stretch.white))
    unit = np.clip((good - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    image: npt.NDArray[np.uint8] = np.rint(_curved(unit, stretch.curve) * 255.0).astype(np.uint8)
    return image[..., 0] if image.shape[-1] == 1 else image


def _curved(unit: npt.NDArray[np.float32], curve: Curve) -> npt.NDArray[np.float32]:
    import numpy as np

    if curve is Curve.LINEAR:
        return unit
    if curve is Curve.SQRT:
        return np.sqrt(unit)
    softening = _STRONG if curve is Curve.STRONG else _SOFTENING
    curved: npt.NDArray[np.float32] = np.arcsinh(softening * unit) / np.float32(np.arcsinh(softening))
    return curved


def _shape(header: FitsHeader) -> tuple[int, int, int]:
    axes = [header.integer(f"NAXIS{axis}") or 0 for axis in range(1, (header.integer("NAXIS") or 0) + 1)]
    width, height, planes = (*axes, 1)[:3] if len(axes) in {2, 3} else (0, 0, 0)
    if width < 1 or height < 1 or planes not in {1, 3}:
        raise NotFits(f"there is no image to be seen: axes {axes}")
    return height, width, planes
