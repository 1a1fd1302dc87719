"""What a screen shows of a FITS image."""

from __future__ import annotations

import io

import numpy as np
import pytest

from skyrelay.fits_header import NotFits
from skyrelay.fits_picture import Curve, Stretch, sampled, stretched
from support.fits_files import fits_bytes


def image_of(pixels: np.ndarray, tmp_path_file: io.BufferedRandom, bitpix: int) -> np.ndarray:
    axes = {f"NAXIS{number}": length for number, length in enumerate(reversed(pixels.shape), 1)}
    tmp_path_file.write(fits_bytes(pixels.tobytes(), BITPIX=bitpix, NAXIS=pixels.ndim, **axes))
    tmp_path_file.seek(0)
    return sampled(tmp_path_file, 480)


@pytest.fixture
def file(tmp_path):  # type: ignore[no-untyped-def] # a file that is open to read and write
    with (tmp_path / "a.fit").open("w+b") as opened:
        yield opened


def test_the_first_row_of_a_fits_image_is_the_bottom_of_the_picture(file: io.BufferedRandom) -> None:
    pixels = np.arange(6, dtype=">i2").reshape(3, 2)
    assert image_of(pixels, file, 16)[..., 0].tolist() == [[4, 5], [2, 3], [0, 1]]


def test_a_large_image_is_thinned_out_while_it_is_read(file: io.BufferedRandom) -> None:
    assert image_of(np.zeros((3, 1920, 1080), dtype=">i2"), file, 16).shape == (960, 540, 3)


def test_a_stretch_ignores_what_is_no_number() -> None:
    pixels = np.array([[0.0, np.nan, np.inf, 5.0]], dtype=np.float32)[..., np.newaxis]
    shown = stretched(pixels)
    assert (shown.dtype, shown.shape, shown[0, 3]) == (np.uint8, (1, 4), 255)


def test_curves_bring_out_the_faint_in_their_order() -> None:
    pixels = np.linspace(0, 1, 101, dtype=np.float32)[np.newaxis, :, np.newaxis]
    faint = {curve: int(stretched(pixels, Stretch(0, 100, curve))[0, 10]) for curve in Curve}
    assert faint[Curve.LINEAR] < faint[Curve.ASINH] < faint[Curve.STRONG]
    assert faint[Curve.LINEAR] < faint[Curve.SQRT]


def test_black_and_white_points_cut_both_ends_off() -> None:
    pixels = np.linspace(0, 1, 101, dtype=np.float32)[np.newaxis, :, np.newaxis]
    shown = stretched(pixels, Stretch(20, 80, Curve.LINEAR))[0]
    assert (shown[20], shown[80]) == (0, 255)
    assert 0 < shown[50] < 255


def test_what_ends_early_is_no_image() -> None:
    whole = fits_bytes(bytes(2880), BITPIX=16, NAXIS=2, NAXIS1=30, NAXIS2=40)
    with pytest.raises(NotFits):
        sampled(io.BytesIO(whole[:-2880]), 480)
