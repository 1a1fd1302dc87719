"""The form of an image for the cloud: streamed in constant memory, the coordinates left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from requests_toolbelt import MultipartEncoder

from skyrelay.cloud.errors import ImageUnreadable
from skyrelay.crowdsky.body import FilePart
from skyrelay.fits_header import FitsError, parse_header, promised_size, read_header_bytes, without_location

Progress = Callable[[int, int | None], None]  # bytes so far, and of the whole where that is known


class ImageForm:
    """A multipart form with one file that counts what it has handed out.

    Attributes
    ----------
    len
        Bytes of the whole body (``requests`` makes the Content-Length of it).
    content_type
        With the form's boundary.
    """

    def __init__(self, name: str, part: FilePart, on_progress: Progress | None) -> None:
        self._encoder = MultipartEncoder({"file": (name, part, "application/fits")})
        self._on_progress = on_progress
        self._sent = 0
        self.len: int = self._encoder.len
        self.content_type = str(self._encoder.content_type)

    @property
    def all_sent(self) -> bool:
        """Whether the server may have the whole body."""
        return self._sent >= self.len

    def read(self, size: int = -1) -> bytes:
        """Hand out up to ``size`` bytes."""
        piece: bytes = self._encoder.read(size)
        self._sent += len(piece)
        if self._on_progress is not None:
            self._on_progress(self._sent, self.len)
        return piece


@contextmanager
def image_form(
    file: Path, name: str, *, scrub_location: bool, on_progress: Progress | None = None
) -> Iterator[ImageForm]:
    """Open a FITS file and make the form of it.

    Raises
    ------
    ImageUnreadable
        If it cannot be opened, or its location shall be left out and its header cannot be read.
    """
    try:
        opened = file.open("rb")
    except OSError as error:
        raise ImageUnreadable(f"{file.name} cannot be opened: {error.strerror}") from error
    with opened:
        part = _scrubbed(opened, file.name) if scrub_location else FilePart(opened, _size(opened))
        yield ImageForm(name, part, on_progress)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _scrubbed(file: BinaryIO, name: str) -> FilePart:
    try:
        head = read_header_bytes(file.read)
        if promised_size(parse_header(head)) < _size(file):
            head += file.read()  # what follows may be extensions, each with a header of its own
        return FilePart(file, _size(file), without_location(head))
    except (FitsError, OSError) as error:
        raise ImageUnreadable(f"{name} cannot be sent without its coordinates: {error}") from error
