"""Stacks raw frames as the server's worker does, only simpler: a mean, without alignment."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from skyrelay_simulators.crowdsky.header import CARD_BYTES, NotFits, UploadHeader, read_upload_header

_BITPIX = 16  # what a Seestar writes


def stack_raw_frames(frames: Sequence[Path]) -> BinaryIO:
    """Give a FITS file with the mean of 16-bit frames of one shape, under the first one's header.

    Raises
    ------
    NotFits
        If a frame is not 16-bit, or has another shape than the first.
    """
    # Imported here: numpy costs 20 MB, and most runs of the simulator never stack a raw frame.
    import numpy as np

    first = read_upload_header(frames[0])
    total = np.zeros(first.width * first.height, dtype=np.float64)
    for frame in frames:
        header = read_upload_header(frame)
        if (header.width, header.height, header.bitpix) != (first.width, first.height, _BITPIX):
            raise NotFits(f"Frame {frame.name} does not fit the others.")
        total += np.fromfile(frame, dtype=">i2", count=total.size, offset=header.length)
    mean = np.rint(total / len(frames)).astype(">i2").tobytes()
    return BytesIO(_header(frames[0], first, len(frames)) + mean + bytes(-len(mean) % 2880))


def _header(frame: Path, header: UploadHeader, frames: int) -> bytes:
    """Give the first frame's header with the stack's total exposure in it."""
    block = bytearray(frame.read_bytes()[: header.length])
    total_s = (header.total_exptime_s or 0.0) * frames
    for at in range(0, len(block), CARD_BYTES):
        if block.startswith(b"TOTALEXP=", at):
            block[at : at + CARD_BYTES] = f"TOTALEXP= {total_s:20.4f}".ljust(CARD_BYTES).encode()
    return bytes(block)
