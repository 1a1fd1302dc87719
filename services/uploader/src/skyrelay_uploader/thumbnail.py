"""Make a thumbnail: ``python -m skyrelay_uploader.thumbnail SOURCE TARGET``.

It runs as a process of its own, so that the uploader, which lives for months, never carries numpy and
Pillow; and of a stack it touches only the pixels that it shows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from skyrelay.fits_header import FitsError
from skyrelay.fits_picture import sampled, stretched

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE = 480  # pixels; what the telescope itself lays beside a stack is about as large
_FORMATS = ("JPEG", "PNG")  # what telescopes write; Pillow knows forty more, each a parser of its own
_WITHIN_S = 60.0  # a few seconds on a small board


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
        image = _of_fits(source) if _is_fits(source) else Image.open(source, formats=_FORMATS).convert("RGB")
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        image.save(target, "JPEG", quality=85)
    except (UnidentifiedImageError, OSError, ValueError, FitsError) as error:
        sys.stderr.write(f"{source.name}: {error}\n")
        return 1
    return 0


def _is_fits(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(9) == b"SIMPLE  ="


def _of_fits(source: Path) -> Image:
    from PIL import Image

    with source.open("rb") as file:
        return Image.fromarray(stretched(sampled(file, LONGEST_SIDE)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
