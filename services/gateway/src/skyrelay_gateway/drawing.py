"""Draw a stack as a picture: ``python -m skyrelay_gateway.drawing BLACK WHITE CURVE LONGEST`` on a FITS file.

It reads the file from its standard input and writes a JPEG to its standard output, as a process of its own:
the gateway, which lives for months, never carries numpy and Pillow, and whatever a file holds cannot reach
further than this process, which knows nothing but the one open file.
"""

from __future__ import annotations

import subprocess
import sys
from typing import BinaryIO

from skyrelay.errors import PermanentError, TransientError
from skyrelay.fits_header import FitsError
from skyrelay.fits_picture import Curve, Stretch, sampled, stretched

_WITHIN_S = 60.0  # a few seconds on a small board
_QUALITY = 88
_NO_IMAGE = 3  # exit code: nothing in the file can be shown


class NoPicture(PermanentError):  # noqa: N818 - the state it names
    """The file shows nothing."""


class TooSlow(TransientError):  # noqa: N818 - the state it names
    """The picture was not drawn in time."""


def draw(file: BinaryIO, stretch: Stretch, longest_side: int) -> bytes:
    """Draw an open FITS file in a process of its own.

    Returns
    -------
    bytes
        A JPEG.

    Raises
    ------
    NoPicture
        If the file holds no image that can be shown.
    TooSlow
        If it takes too long.
    """
    file.seek(0)
    arguments = (str(stretch.black), str(stretch.white), stretch.curve.value, str(longest_side))
    command = [sys.executable, "-m", __name__, *arguments]
    try:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=_WITHIN_S, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired as error:
        raise TooSlow(f"it was not drawn within {_WITHIN_S:.0f} s") from error
    if done.returncode != 0:
        raise NoPicture(done.stderr.decode(errors="replace").strip()[-300:] or "it cannot be read")
    return done.stdout


def main(black: str, white: str, curve: str, longest_side: str) -> int:
    """Write the picture of what stands on the standard input."""
    from PIL import Image

    stretch, longest = Stretch(float(black), float(white), Curve(curve)), int(longest_side)
    try:
        with open(0, "rb", closefd=False) as file:
            image = Image.fromarray(stretched(sampled(file, longest), stretch))
    except (OSError, ValueError, FitsError) as error:
        sys.stderr.write(f"{error}\n")
        return _NO_IMAGE
    image.thumbnail((longest, longest))
    image.save(sys.stdout.buffer, "JPEG", quality=_QUALITY)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
