"""Make a thumbnail: ``python -m skyrelay_uploader.thumbnail SOURCE TARGET``.

It runs as a process of its own, so that the uploader, which lives for months, never carries numpy and
Pillow; and of a stack it touches only the pixels that it shows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skyrelay.fits_header import FitsHeader, NotFits, promised_size, read_header

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

LONGEST_SIDE = 480  # pixels; what the telescope itself lays beside a stack is about as large
_WITHIN_S = 60.0  # a few seconds on a small board
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_DARKEST, _BRIGHTEST = 1.0, 99.7  # percentiles: the sky's background, and all but the brightest stars
_SOFTENING = 10.0  # of the arcsinh stretch: shows faint nebulae beside stars


def make_thumbnail(source: Path, target: Path) -> bool:
    """Make a JPEG of a picture or of a FITS image, in a process of its own; tell whether that worked."""
    command = [sys.executable, "-m", __name__, str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_WITHIN_S, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and target.is_file()


def main(source: Path, target: Path) -> int:
    """Write the thumbnail; exit code 1 says that there is nothing to be seen."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = _of_fits(source) if _is_fits(source) else Image.open(source).convert("RGB")
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        image.save(target, "JPEG", quality=85)
    except (UnidentifiedImageError, OSError, ValueError, NotFits) as error:
        sys.stderr.write(f"{source.name}: {error}\n")
        return 1
    return 0


def _is_fits(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(9) == b"SIMPLE  ="


def _of_fits(source: Path) -> Image:
    from PIL import Image

    return Image.fromarray(stretched(sampled(source)))


def sampled(source: Path) -> npt.NDArray[np.float32]:
    """Read every n-th pixel of a FITS image.

    Returns
    -------
    numpy.ndarray
        Height × width × planes (1 or 3), float32, in the file's own units without BZERO and BSCALE, which
        a stretch does away with; the first row is the image's top.

    Raises
    ------
    NotFits
        If there is no image of two dimensions, or of three with one plane or three.
    """
    import numpy as np

    with source.open("rb") as file:
        header = read_header(file.read)
    height, width, planes = _shape(header)
    if source.stat().st_size < promised_size(header):
        raise NotFits("the file is shorter than its header says")
    dtype = _DTYPES[header.integer("BITPIX") or 0]
    cube = np.memmap(source, dtype=dtype, mode="r", offset=header.length, shape=(planes, height, width))
    step = max(1, max(height, width) // (2 * LONGEST_SIDE))
    pixels = cube[:, ::step, ::step].astype(np.float32)
    return np.moveaxis(pixels, 0, -1)[::-1]


def stretched(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Bring pixels (height × width × planes) to what a screen shows; one plane becomes a grey image."""
    import numpy as np

    good = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(good, (_DARKEST, _BRIGHTEST))
    unit = np.clip((good - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    shown = np.arcsinh(_SOFTENING * unit) / np.arcsinh(_SOFTENING) * 255.0
    image: npt.NDArray[np.uint8] = shown.astype(np.uint8)
    return image[..., 0] if image.shape[-1] == 1 else image


def _shape(header: FitsHeader) -> tuple[int, int, int]:
    axes = [header.integer(f"NAXIS{axis}") or 0 for axis in range(1, (header.integer("NAXIS") or 0) + 1)]
    width, height, planes = (*axes, 1)[:3] if len(axes) in {2, 3} else (0, 0, 0)
    if width < 1 or height < 1 or planes not in {1, 3}:
        raise NotFits(f"there is no image to be seen: axes {axes}")
    return height, width, planes


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
