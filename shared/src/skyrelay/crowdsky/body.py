"""The body of an upload: multipart, streamed in constant memory, the coordinates left out.

A stack is 12 MB on a telescope and far more after processing, and the appliance may be a small
board; so the file is read in pieces, as the socket takes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from requests_toolbelt import MultipartEncoder

from skyrelay.crowdsky.errors import StackUnreadable
from skyrelay.crowdsky.stacks import RawFrameUpload, StackUpload
from skyrelay.fits_header import parse_header, promised_size, read_header_bytes, without_location

Progress = Callable[[int, int | None], None]  # bytes so far, and of the whole where that is known


class FilePart:
    """A file as it leaves: some first bytes of ours, then the rest of the file, of exactly one length.

    Parameters
    ----------
    file
        Open for reading, standing where ``head`` ends.
    length
        Bytes of the whole.
    head
        What is sent in the place of the file's first bytes.
    """

    def __init__(self, file: BinaryIO, length: int, head: bytes = b"") -> None:
        self._file = file
        self._head = BytesIO(head)
        self.len = length  # requests_toolbelt's name for what is still to be read

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes.

        Raises
        ------
        StackUnreadable
            If the file is now shorter than it was, or cannot be read on.
        """
        wanted = self.len if size < 0 else min(size, self.len)
        piece = self._head.read(wanted) or self._read_file(wanted)
        if wanted and not piece:
            raise StackUnreadable("a file became shorter while it was being sent")
        self.len -= len(piece)
        return piece

    def _read_file(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise StackUnreadable(f"a file cannot be read on: {error.strerror}") from error


class StreamedForm:
    """A multipart form that counts what it has handed out.

    Parameters
    ----------
    parts
        Texts, and files as ``requests_toolbelt`` takes them.
    on_progress
        Called with each piece.

    Attributes
    ----------
    len
        Bytes of the whole body (``requests`` makes the Content-Length of it).
    sent
        Bytes handed to the connection so far: at least as many as have left, so that a body of
        which less than all was handed out cannot have arrived whole.
    """

    def __init__(self, parts: Mapping[str, object], on_progress: Progress | None = None) -> None:
        self._encoder = MultipartEncoder(dict(parts))
        self._on_progress = on_progress
        self.len: int = self._encoder.len
        self.sent = 0

    @property
    def content_type(self) -> str:
        """The Content-Type with its boundary."""
        return str(self._encoder.content_type)

    @property
    def all_sent(self) -> bool:
        """Whether the server may have the whole body."""
        return self.sent >= self.len

    def read(self, size: int = -1) -> bytes:
        """Hand out up to ``size`` bytes."""
        piece: bytes = self._encoder.read(size)
        self.sent += len(piece)
        if self._on_progress is not None:
            self._on_progress(self.sent, self.len)
        return piece


@contextmanager
def stack_form(upload: StackUpload, on_progress: Progress | None = None) -> Iterator[StreamedForm]:
    """Open an upload's files and make the form of them.

    Raises
    ------
    StackUnreadable
        If a file cannot be opened or read.
    skyrelay.fits_header.FitsError
        If the location shall be left out of a file whose header cannot be read.
    """
    with ExitStack() as files:
        parts: dict[str, object] = dict(_fields(upload))
        stack = files.enter_context(_opened(upload.path))
        parts["file"] = _fits_part(upload.file_name, stack, scrub_location=upload.scrub_location)
        if upload.thumbnail is not None:
            thumbnail = files.enter_context(_opened(upload.thumbnail))
            image = FilePart(thumbnail, _size(thumbnail))
            parts["thumbnail"] = (upload.thumbnail.name, image, _image_type(upload.thumbnail))
        yield StreamedForm(parts, on_progress)


@contextmanager
def raw_frame_form(frame: RawFrameUpload, on_progress: Progress | None = None) -> Iterator[StreamedForm]:
    """Open a raw frame and make the form of it. Raises as `stack_form` does."""
    with _opened(frame.path) as file:
        part = _fits_part(frame.path.name, file, scrub_location=frame.scrub_location)
        yield StreamedForm({"session_token": frame.session_token, "file": part}, on_progress)


def _fits_part(name: str, file: BinaryIO, *, scrub_location: bool) -> tuple[str, FilePart, str]:
    part = _without_location(file) if scrub_location else FilePart(file, _size(file))
    return name, part, "application/fits"


def _fields(upload: StackUpload) -> Iterator[tuple[str, str]]:
    if upload.n_frames_input is not None:
        yield "n_frames_input", str(upload.n_frames_input)
    if upload.n_frames_aligned is not None:
        yield "n_frames_aligned", str(upload.n_frames_aligned)
    if upload.date_obs_start is not None:
        yield "date_obs_start", _stamp(upload.date_obs_start)
    if upload.date_obs_end is not None:
        yield "date_obs_end", _stamp(upload.date_obs_end)
    if upload.scrub_location:
        yield "scrub_location", "1"


def _stamp(moment: datetime) -> str:
    """Write a time as DATE-OBS is written: UTC without a zone.

    The server keeps it in a DATETIME column, which refuses a trailing ``Z``.
    """
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise StackUnreadable(f"{path.name} cannot be opened: {error.strerror}") from error
    with file:
        yield file


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _without_location(file: BinaryIO) -> FilePart:
    size = _size(file)
    try:
        head = read_header_bytes(file.read)
        if _has_extensions(file, promised_size(parse_header(head)), size):
            # No stack of a Seestar has any; each has a header of its own, and the places lie far apart.
            head += file.read()
    except OSError as error:
        raise StackUnreadable(f"a file cannot be read: {error.strerror}") from error
    return FilePart(file, size, without_location(head))


def _has_extensions(file: BinaryIO, end_of_first: int, size: int) -> bool:
    if end_of_first >= size:
        return False
    here = file.tell()
    file.seek(end_of_first)
    found = file.read(8) == b"XTENSION"
    file.seek(here)
    return found


def _image_type(path: Path) -> str:
    return "image/png" if path.suffix.casefold() == ".png" else "image/jpeg"
