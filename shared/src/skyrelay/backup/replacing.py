"""Files put in the place of others: all of them, or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Replacing:
    """Files that lie ready beside their places from the beginning; a context.

    `swap` puts them in place. When the ``with`` ends by an exception, what was there before is there again.

    Parameters
    ----------
    files
        What belongs where; readable by their owner alone.

    Raises
    ------
    OSError
        If one cannot be written, at the beginning or in `swap`.
    """

    def __init__(self, files: Mapping[Path, bytes]) -> None:
        self._files = files
        self._ready: dict[Path, Path] = {}
        self._before: dict[Path, Path | None] = {}  # where what was there is kept; `None`: nothing was

    def __enter__(self) -> Self:
        try:
            for place, content in self._files.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                self._ready[place] = _written_beside(place, content)
        except OSError:
            self._tidy_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for place, before in self._before.items():
                _put_back(place, before)
        self._tidy_up()

    def swap(self) -> None:
        """Put all in place."""
        for place, ready in self._ready.items():
            self._before[place] = _kept_beside(place)
            ready.replace(place)

    def _tidy_up(self) -> None:
        for left in (*self._ready.values(), *self._before.values()):
            if left is not None:
                left.unlink(missing_ok=True)


def _written_beside(place: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")  # 0600
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return Path(name)


def _kept_beside(place: Path) -> Path | None:
    kept = place.with_name(f".{place.name}.before")
    kept.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        kept.hardlink_to(place)
        return kept
    return None


def _put_back(place: Path, before: Path | None) -> None:
    if before is None:
        place.unlink(missing_ok=True)
    else:
        before.replace(place)
