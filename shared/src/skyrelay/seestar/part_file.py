"""A file on its way to its final name: what has arrived of it, and whether more of it can be added."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from skyrelay.errors import TransientError
from skyrelay.fits_header import FitsHeader, read_header

_PART, _TAG = ".part", ".part.tag"  # beside the file: the bytes, and the server's validator of them


class PartFile:
    """The bytes that have arrived, beside the final file.

    Parameters
    ----------
    to
        The final path; its folder is made if it is not there.

    Raises
    ------
    TransientError
        From each method, if the disk is full, gone or not ours to write on.
    """

    def __init__(self, to: Path) -> None:
        self._to = to
        self._path, self._tag_path = to.with_name(to.name + _PART), to.with_name(to.name + _TAG)
        with self._disk():
            to.parent.mkdir(parents=True, exist_ok=True)
            self.size = self._path.stat().st_size if self._path.is_file() else 0
            self.tag = (
                self._tag_path.read_text(encoding="utf-8", errors="replace")
                if self._tag_path.is_file()
                else ""
            )
        if not self.tag:
            self.restart()  # without a validator an earlier call's bytes may be another file's

    def restart(self) -> None:
        """Forget what has arrived."""
        with self._disk():
            self._path.unlink(missing_ok=True)
            self._tag_path.unlink(missing_ok=True)
        self.size, self.tag = 0, ""

    def remember(self, tag: str) -> None:
        """Keep the server's validator (ETag or date), so that a later call can resume."""
        if tag and tag != self.tag:
            with self._disk():
                self._tag_path.write_text(tag, encoding="utf-8")
            self.tag = tag

    def append(self, chunks: Iterable[bytes], limit: int) -> None:
        """Add what arrives, up to ``limit`` bytes in all."""
        with self._disk():
            stream = self._path.open("ab")
        with stream:
            for chunk in chunks:
                taken = chunk[: limit - self.size]
                with self._disk():
                    stream.write(taken)
                self.size += len(taken)
                if self.size >= limit:
                    return

    def header(self) -> FitsHeader:
        """Read the FITS header of what has arrived; raises as `skyrelay.fits_header.read_header` does."""
        with self._disk():
            stream = self._path.open("ab+")  # an empty file has no bytes, and so no file yet
        with stream:
            stream.seek(0)
            return read_header(stream.read)

    def finish(self) -> None:
        """Put the bytes safely on the disk, then give them the final name, at once or not at all."""
        with self._disk():
            with self._path.open("ab") as stream:
                os.fsync(stream.fileno())
            self._path.replace(self._to)
            _sync_folder(self._to.parent)
            self._tag_path.unlink(missing_ok=True)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransientError(f"{self._to} cannot be written ({error.strerror})") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
