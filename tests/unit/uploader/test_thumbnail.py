"""Thumbnails of stacks and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyrelay_uploader.thumbnail import LONGEST_SIDE, make_thumbnail
from support.fits_files import fits_bytes


def write(path: Path, pixels: np.ndarray, bitpix: int) -> Path:
    """Write planes × height × width (or height × width)."""
    axes = {f"NAXIS{number}": length for number, length in enumerate(reversed(pixels.shape), 1)}
    path.write_bytes(fits_bytes(pixels.tobytes(), BITPIX=bitpix, NAXIS=pixels.ndim, **axes))
    return path


def test_a_colour_stack_keeps_its_colours_and_its_shape(tmp_path: Path) -> None:
    pixels = np.zeros((3, 1920, 1080), dtype=">f4")
    pixels[0, :, :540] = 1.0  # the left half is red
    source = write(tmp_path / "stack.fit", pixels, -32)

    assert make_thumbnail(source, tmp_path / "thumbnail.jpg")

    with Image.open(tmp_path / "thumbnail.jpg") as image:
        assert (image.format, image.mode, max(image.size)) == ("JPEG", "RGB", LONGEST_SIDE)
        left, right = image.getpixel((20, 200)), image.getpixel((image.width - 20, 200))
    assert left[0] > 200
    assert left[1] < 50
    assert max(right) < 50


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        fits_bytes(b"", NAXIS=0),
        fits_bytes(bytes(8), NAXIS=1, NAXIS1=4),
        fits_bytes(bytes(5760), NAXIS=2, NAXIS1=1000, NAXIS2=1000),
    ],
    ids=["empty", "page", "no data", "one axis", "cut short"],
)
def test_what_cannot_be_seen_gives_none(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    assert not make_thumbnail(source, tmp_path / "thumbnail.jpg")
