"""Where a block's frames can be read: in a watched folder of this machine, else on their telescope.

One frame at a time is brought from the telescope, resumed and verified, and goes again once it was sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from skyrelay.arrivals import safe_component
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.fits_header import FitsError, FitsHeader, promised_size, read_header
from skyrelay.seestar.downloads import HttpFiles
from skyrelay.seestar.errors import Unreachable

Answer = TypeVar("Answer")
_FRAME_BYTES = 40_000_000  # of one whose size is not known: more than any Seestar's


class FrameNotAtHand(TransientError):  # noqa: N818 - the state it names
    """A frame can be read nowhere now.

    Parameters
    ----------
    message
        Why, in words for a person.
    is_away
        Whether it waits for its telescope, which is usually just asleep, or observes.
    """

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


@dataclass(frozen=True, slots=True)
class FramePlace:
    """A frame and where it was seen.

    Attributes
    ----------
    folder
        On its telescope.
    size_bytes
        As it was listed; 0 if it was listed without.
    root, path
        The watched folder, as configured, and the path below it; `None` if no watcher saw it.
    is_on_telescope
        Whether its telescope has shown it.
    """

    name: str
    folder: str
    size_bytes: int
    root: str | None
    path: str | None
    is_on_telescope: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A telescope as the books know it; ``host``: `None` where it has no address."""

    name: str
    host: str | None
    http_port: int
    is_observing: bool


class FrameFiles:
    """Reads the frames of one telescope; to be closed.

    Parameters
    ----------
    source
        The telescope.
    roots
        The watched folders of this machine: no other folder is read, whatever the books say.
    has_room
        Tells whether so many bytes can be brought here.
    """

    def __init__(self, source: Source, roots: frozenset[str], has_room: Callable[[int], bool]) -> None:
        self._source, self._roots, self._has_room = source, roots, has_room
        self._http: HttpFiles | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()

    def header(self, frame: FramePlace) -> tuple[FitsHeader, int]:
        """Read a frame's header; give the file's size too.

        Raises
        ------
        FrameNotAtHand
            If it can be read nowhere now.
        """
        path = self._whole_here(frame)
        if path is not None:
            return _read(path)
        header = self._on_telescope(frame, lambda http: http.read_header(frame.folder, frame.name))
        return header, frame.size_bytes or promised_size(header)

    @contextmanager
    def whole(self, frame: FramePlace, folder: Path) -> Iterator[Path]:
        """Give a whole frame's file inside the ``with``, under its own name.

        Parameters
        ----------
        folder
            Where it is brought to, if it has to be; what has arrived of it stays there when that breaks off.

        Raises
        ------
        FrameNotAtHand
            As `header`.
        """
        path = self._whole_here(frame)
        if path is not None:
            yield path
            return
        brought = folder / safe_component(frame.name)
        if not brought.exists():
            self._bring(frame, brought)
        yield brought
        brought.unlink(missing_ok=True)

    def _bring(self, frame: FramePlace, to: Path) -> None:
        if not self._has_room(frame.size_bytes or _FRAME_BYTES):
            raise FrameNotAtHand(f"the archive's disk has no room for {frame.name}: free some space")
        size = frame.size_bytes or None
        self._on_telescope(frame, lambda http: http.download(frame.folder, frame.name, to, size))

    def _on_telescope(self, frame: FramePlace, ask: Callable[[HttpFiles], Answer]) -> Answer:
        name = self._source.name
        if self._source.host is None or not frame.is_on_telescope:
            raise FrameNotAtHand(
                f"{frame.name} is neither in a watched folder that the uploader can read nor on {name}: "
                "mount the folder for the uploader as it is for the watcher, or put the file back"
            )
        if self._source.is_observing:
            raise FrameNotAtHand(f"{name} is observing: its Wi-Fi is left to that", is_away=True)
        try:
            return ask(self._connection(self._source.host))
        except SkyrelayError as error:
            raise FrameNotAtHand(
                f"{frame.name} cannot be had: {error}", is_away=isinstance(error, Unreachable)
            ) from error

    def _connection(self, host: str) -> HttpFiles:
        if self._http is None:
            self._http = HttpFiles(host, self._source.http_port, name=self._source.name)
        return self._http

    def _whole_here(self, frame: FramePlace) -> Path | None:
        """Give the file in its watched folder if it is there, and whole."""
        path = self._here(frame)
        if path is None:
            return None
        try:
            header, size = _read(path)
        except (OSError, FitsError):
            return None
        return path if size >= promised_size(header) else None

    def _here(self, frame: FramePlace) -> Path | None:
        if frame.root is None or frame.path is None or frame.root not in self._roots:
            return None
        parts = PurePosixPath(frame.path).parts
        if not parts or parts[-1] != frame.name or ".." in parts or PurePosixPath(frame.path).is_absolute():
            return None
        return Path(frame.root).joinpath(*parts)


def _read(path: Path) -> tuple[FitsHeader, int]:
    with path.open("rb") as file:
        return read_header(file.read), os.fstat(file.fileno()).st_size
