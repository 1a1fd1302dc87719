"""Making one stack of many sub-frames, as the telescope does: a debayered mean, frame by frame.

Loads astropy and numpy: imported by the first batch stack, not before.
"""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header
from numpy.typing import NDArray
from PIL import Image

from skyrelay_simulators.telescope.emmc import write_whole
from skyrelay_simulators.telescope.stacked_files import StackedFiles, UnfitFrameError

_EXPOSURE = re.compile(r"_(?P<exposure>[0-9]+(?:\.[0-9]+)?s)_")
_SIGN_BIT = 32768  # BZERO of unsigned 16-bit data: adding it flips one bit
_THUMB_WIDTH = 200  # pixels, guessed
_STAR_SIGMAS = 9.0  # median deviations above the sky from which a pixel belongs to a star
_STAR_CAP = 60.0  # median deviations; a saturated star must not outweigh all others
_STACK_CARDS = (
    *("DATE-OBS", "EXPTIME", "EXPOSURE", "RA", "DEC", "OBJECT", "FILTER", "GAIN", "CCD-TEMP", "FOCUSPOS"),
    *("TELESCOP", "INSTRUME", "PROGRAM", "SITELONG", "SITELAT", "EQMODE", "CREATOR", "PRODUCER"),
    *("FOCALLEN", "APERTURE", "XPIXSZ", "YPIXSZ"),
)


class GrowingStack:
    """The sum of the frames so far, in memory: four bytes a pixel, however many frames."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: NDArray[np.uint32] | None = None
        self._header: Header | None = None
        self._stars: StarProfiles | None = None
        self._first_name = ""

    def add(self, path: Path) -> None:
        """Add a frame.

        Raises
        ------
        UnfitFrameError
            If it cannot be read, or has another shape or exposure time than the first one.
        """
        header, pixels = _read_frame(path)
        if self._sum is None or self._header is None or self._stars is None:
            self._begin(path, header, pixels)
        elif pixels.shape != self._sum.shape or header.get("EXPTIME") != self._header.get("EXPTIME"):
            raise UnfitFrameError(f"{path.name} is not of the same kind as {self._first_name}")
        else:
            self._sum += np.roll(pixels, self._stars.shift_to(StarProfiles(pixels)), axis=(0, 1))
        self.count += 1

    def _begin(self, path: Path, header: Header, pixels: NDArray[np.uint16]) -> None:
        self._first_name, self._header, self._sum = path.name, header, pixels.astype("u4")
        self._stars = StarProfiles(pixels)

    def save(self, root: Path, folder: str, target: str, saved_local: datetime) -> StackedFiles:
        """Write the stack and its pictures to ``root``/``folder``; never over another file.

        Parameters
        ----------
        root
            The eMMC.
        folder
            Folder from there, e.g. ``MyWorks/M 81``.
        target
            Name of the target.
        saved_local
            Naive wall-clock time of the telescope, for the name. Where that second's name is taken
            already, the next free second's is used.

        Raises
        ------
        UnfitFrameError
            If no frame was added.
        """
        if self._sum is None or self._header is None:
            raise UnfitFrameError("there is no frame to stack")
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        stem = _free_stem(place, f"{self.count}_{target}_{exposure_text(self._first_name)}", saved_local)
        cube = _debayered(self._sum, self.count)
        _write_pictures(place, stem, cube)
        write_whole(place / f"{stem}.fit", _fits_bytes(cube, self._header, self.count))
        return StackedFiles(folder, f"{stem}.fit", f"{stem}_thn.jpg")


class StarProfiles:
    """A frame's bright pixels summed along rows and along columns: enough to see how far it moved.

    Parameters
    ----------
    pixels
        The mosaic, of shape (rows, columns).
    """

    def __init__(self, pixels: NDArray[np.uint16]) -> None:
        green = pixels[0::2, 0::2].astype(np.float32)
        sky = float(np.median(green[::4, ::4]))
        noise = float(np.median(np.abs(green[::4, ::4] - sky))) + 1.0
        stars = np.clip(green - (sky + _STAR_SIGMAS * noise), 0.0, _STAR_CAP * noise)
        self._spectra = [np.fft.rfft(stars.sum(axis=axis)) for axis in (1, 0)]
        self._lengths = green.shape

    def shift_to(self, other: StarProfiles) -> tuple[int, int]:
        """Give the rows and columns by which ``other`` must be rolled to lie on this frame.

        Whole mosaic cells, so that colours stay apart; field rotation is not followed.
        """
        pairs = zip(self._spectra, other._spectra, self._lengths, strict=True)
        rows, columns = (_best_shift(mine * theirs.conj(), length) for mine, theirs, length in pairs)
        return 2 * rows, 2 * columns


def _best_shift(cross_spectrum: NDArray[np.complexfloating], length: int) -> int:
    best = int(np.argmax(np.fft.irfft(cross_spectrum, length)))
    return best if best <= length // 2 else best - length


def exposure_text(frame_name: str) -> str:
    """Give the exposure as a frame's name has it, e.g. ``10.0s``."""
    match = _EXPOSURE.search(frame_name)
    return match["exposure"] if match else "0.0s"


def _read_frame(path: Path) -> tuple[Header, NDArray[np.uint16]]:
    try:
        content = io.BytesIO(path.read_bytes())
        header = Header.fromfile(content)
        width, height = (int(header[f"NAXIS{axis}"]) for axis in (1, 2))
        pixels = np.frombuffer(content.read(2 * width * height), ">u2").reshape(height, width)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UnfitFrameError(f"{path.name} cannot be read: {error}") from error
    if (header.get("BITPIX"), header.get("BZERO")) != (16, _SIGN_BIT):
        raise UnfitFrameError(f"{path.name} holds no unsigned 16-bit image")
    return header, pixels.astype(np.uint16) ^ np.uint16(_SIGN_BIT)


def _free_stem(place: Path, head: str, saved_local: datetime) -> str:
    while True:
        stem = f"DSO_Stacked_{head}_{saved_local:%Y%m%d_%H%M%S}"
        if not (place / f"{stem}.fit").exists():
            return stem
        saved_local += timedelta(seconds=1)


def _debayered(total: NDArray[np.uint32], count: int) -> NDArray[np.uint16]:
    """Give planes R, G, B of shape (3, rows, columns) from a GRBG mosaic's sum."""
    rows, columns = (side // 2 * 2 for side in total.shape)
    mean = (total[:rows, :columns] // count).astype(np.uint16)
    green = (mean[0::2, 0::2] // 2) + (mean[1::2, 1::2] // 2)
    planes = (mean[0::2, 1::2], green, mean[1::2, 0::2])
    return np.stack([plane.repeat(2, axis=0).repeat(2, axis=1) for plane in planes])


def _fits_bytes(cube: NDArray[np.uint16], first: Header, count: int) -> bytes:
    unit = fits.PrimaryHDU(cube)  # writes unsigned 16 bit as BZERO 32768
    for card in _STACK_CARDS:
        if card in first:
            unit.header[card] = (first[card], first.comments[card])
    unit.header["IMAGETYP"] = ("Light", "Type of image")
    unit.header["TOTALEXP"] = (count * float(first.get("EXPTIME", 0.0)), "Total Exposure Time in seconds")
    unit.header["STACKCNT"] = (count, "Number of stacked frames")
    buffer = io.BytesIO()
    unit.writeto(buffer)
    return buffer.getvalue()


def _write_pictures(place: Path, stem: str, cube: NDArray[np.uint16]) -> None:
    picture = Image.fromarray(_stretched(cube[:, ::2, ::2]))  # a debayered picture says no more than this
    write_whole(place / f"{stem}.jpg", _jpeg_bytes(picture))
    picture.thumbnail((_THUMB_WIDTH, _THUMB_WIDTH * 4))
    write_whole(place / f"{stem}_thn.jpg", _jpeg_bytes(picture))


def _stretched(cube: NDArray[np.uint16]) -> NDArray[np.uint8]:
    coarse = cube[:, ::8, ::8]  # percentiles need no more than a sixty-fourth of the pixels
    low, high = (np.percentile(coarse, share, axis=(1, 2)).reshape(3, 1, 1) for share in (30.0, 99.8))
    scaled = (cube.astype(np.float32) - low) * (255.0 / np.maximum(high - low, 1.0))
    picture: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return np.moveaxis(picture, 0, -1).copy()


def _jpeg_bytes(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
