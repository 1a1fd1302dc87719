"""A made-up piece of sky as the sensor sees it: stars, sky glow and noise under a GRBG mosaic.

Loads numpy: import it only where frames are made.

Numbers are set so that a 10 s frame looks like the real ones: a sky of about 900 counts, a few
hundred stars in 1080x1920, the brightest near saturation.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SKY = 900.0  # counts in 10 s
_SKY_EXPOSURE_S = 10.0
_READ_NOISE = 25.0  # counts
_PER_ELECTRON = 8.0  # counts; sets the photon noise
_PIXELS_PER_STAR = 4000
_FEWEST_STARS = 15
_STAR_WIDTH = 1.6  # pixels, sigma
_STAMP = 7  # pixels from a star's centre that are drawn
_TARGET_PEAK = 12_000.0  # counts in 10 s of what lies at the centre
_BRIGHTEST = 45_000.0  # counts in 10 s
_DRIFT = 3  # frames wander by up to that many mosaic cells
_FULL = 65535


@dataclass(frozen=True, slots=True)
class FieldSize:
    """Size of a frame in pixels; both even, since the mosaic's cells are 2x2."""

    width: int = 1080
    height: int = 1920

    def __post_init__(self) -> None:
        if self.width < 2 * _STAMP or self.height < 2 * _STAMP or self.width % 2 or self.height % 2:
            raise ValueError(f"a frame is even and at least {2 * _STAMP} pixels wide and high")


class StarField:
    """The sky around one target; the same target always shows the same stars.

    Parameters
    ----------
    target
        Seeds the stars.
    size
        Size of the frames.
    exposure_s
        Exposure time in seconds; sky and stars scale with it.
    """

    def __init__(self, target: str, size: FieldSize, exposure_s: float) -> None:
        self._random = np.random.default_rng(zlib.crc32(target.encode()))
        self._brightness = exposure_s / _SKY_EXPOSURE_S
        self._scene = self._draw(size)

    def _draw(self, size: FieldSize) -> NDArray[np.float32]:
        scene = np.full((size.height, size.width), _SKY, np.float32)
        self._add_star(scene, size.width / 2, size.height / 2, _TARGET_PEAK)
        for _ in range(max(_FEWEST_STARS, size.width * size.height // _PIXELS_PER_STAR)):
            x = self._random.uniform(_STAMP, size.width - _STAMP)
            y = self._random.uniform(_STAMP, size.height - _STAMP)
            self._add_star(scene, x, y, min(150.0 * self._random.pareto(1.1) + 100.0, _BRIGHTEST))
        return scene * np.float32(self._brightness)

    def _add_star(self, scene: NDArray[np.float32], x: float, y: float, peak: float) -> None:
        left, top = int(x) - _STAMP, int(y) - _STAMP
        rows, columns = np.mgrid[top : top + 2 * _STAMP, left : left + 2 * _STAMP]
        profile = peak * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * _STAR_WIDTH**2))
        profile *= self._tint(top, left)
        scene[top : top + 2 * _STAMP, left : left + 2 * _STAMP] += profile

    def _tint(self, top: int, left: int) -> NDArray[np.float64]:
        """Give a star a colour: how much of it red, green and blue pixels see (GRBG)."""
        red, blue = self._random.uniform(0.5, 1.0, size=2)
        cell = np.roll(np.array([[1.0, red], [blue, 1.0]]), (-(top % 2), -(left % 2)), axis=(0, 1))
        return np.tile(cell, (_STAMP, _STAMP))

    def expose(self) -> NDArray[np.uint16]:
        """Take a frame: the scene, moved a little, with fresh noise; shape (rows, columns)."""
        drift = 2 * self._random.integers(-_DRIFT, _DRIFT + 1, size=2)  # whole cells keep the mosaic
        scene = np.roll(self._scene, tuple(drift), axis=(0, 1))
        noise = self._random.standard_normal(scene.shape, dtype=np.float32)
        frame = scene + noise * np.sqrt(scene * _PER_ELECTRON + _READ_NOISE**2)
        counts: NDArray[np.uint16] = np.clip(frame, 0, _FULL).astype(np.uint16)
        return counts


def preview_jpegs(frame: NDArray[np.uint16]) -> tuple[bytes, bytes]:
    """Make the picture and the thumbnail that lie beside a frame, both small."""
    step = max(2, frame.shape[1] // 270 * 2)
    rows, columns = (side // step for side in frame.shape)
    blocks = frame[: rows * step, : columns * step].reshape(rows, step, columns, step)
    cells = blocks.mean(axis=(1, 3), dtype=np.float32)
    low, high = np.percentile(cells, (10.0, 99.5))
    scaled = ((cells - low) * (255.0 / max(high - low, 1.0))).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(scaled)
    full, thumb = io.BytesIO(), io.BytesIO()
    picture.save(full, "JPEG")
    picture.resize((max(1, picture.width // 2), max(1, picture.height // 2))).save(thumb, "JPEG")
    return full.getvalue(), thumb.getvalue()
