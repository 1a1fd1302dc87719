"""The telescope's eMMC: a folder on disk, and the listings that the firmware makes of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

MY_WORKS = "MyWorks"
PAGE_SIZE = 20  # entries a page of get_img_file_page_name
THUMB_SUFFIX = "_thn.jpg"
_VIDEO_SUFFIX = ".avi"
_MEGABYTE = 1024 * 1024


class NotOnEmmcError(Exception):
    """The path is not there, or leads out of the eMMC."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Size of the eMMC, in MB."""

    total_mb: int
    free_mb: int


class Emmc:
    """The folder that plays a telescope's eMMC.

    Parameters
    ----------
    root
        The folder; ``MyWorks`` is made in it.
    to_local
        Turns an aware moment into the naive local time that listings show.
    """

    def __init__(self, root: Path, to_local: Callable[[datetime], datetime]) -> None:
        self.root = root.resolve()
        self._to_local = to_local
        (self.root / MY_WORKS).mkdir(parents=True, exist_ok=True)

    def locate(self, path: str) -> Path:
        """Find a path as the telescope writes it (``MyWorks/M 81``).

        Raises
        ------
        NotOnEmmcError
            If nothing is there or the path leads outside, by ``..`` or by a link.
        """
        relative = PurePosixPath(path.lstrip("/"))
        if ".." in relative.parts or "\x00" in path:
            raise NotOnEmmcError(path)
        try:
            place = (self.root / relative).resolve(strict=True)
        except OSError as error:  # not there, too long, a loop of links
            raise NotOnEmmcError(path) from error
        if not place.is_relative_to(self.root):
            raise NotOnEmmcError(path)
        return place

    def target_folder(self, folder: str) -> Path:
        """Give (and make, if need be) a folder of ``MyWorks``."""
        place = self.root / MY_WORKS / folder
        place.mkdir(parents=True, exist_ok=True)
        return place

    def volume(self) -> Volume:
        """Give the size of the volume and what is free on it."""
        usage = shutil.disk_usage(self.root)
        return Volume(usage.total // _MEGABYTE, usage.free // _MEGABYTE)

    def listing(self, path: str, *, skip_videos: bool) -> list[dict[str, Any]]:
        """List a folder as ``get_img_file_page_name`` does, by name; raises `NotOnEmmcError`."""
        folder = self.locate(path)
        if not folder.is_dir():
            raise NotOnEmmcError(path)
        places = (place for place in folder.iterdir() if not (skip_videos and place.suffix == _VIDEO_SUFFIX))
        return [entry for place in sorted(places) if (entry := self._describe(place))]

    def albums(self, left_out: frozenset[str]) -> dict[str, Any]:
        """Give the result of ``get_albums``: every folder of ``MyWorks`` but those ``left_out``."""
        folders = (place for place in sorted((self.root / MY_WORKS).iterdir()) if place.is_dir())
        files = [_describe_album(folder) for folder in folders if folder.name not in left_out]
        return {"path": MY_WORKS, "list": [{"group_name": "DeepSky", "files": files}]}

    def _describe(self, place: Path) -> dict[str, Any] | None:
        try:
            status = place.stat()
        except FileNotFoundError:  # renamed or deleted since the folder was read
            return None
        changed_local = self._to_local(datetime.fromtimestamp(status.st_mtime, UTC))
        return {
            "name": place.name,
            "date": f"{changed_local:%Y-%m-%d %H:%M:%S}",
            "size_k": status.st_size // 1024,
            "is_dir": place.is_dir(),
            "file_cnt": sum(1 for _ in place.iterdir()) if place.is_dir() else 0,
        }


def _describe_album(folder: Path) -> dict[str, Any]:
    thumbs = sorted(place.name for place in folder.iterdir() if place.name.endswith(THUMB_SUFFIX))
    thumb = f"{folder.name}/{thumbs[-1]}" if thumbs else ""
    # The firmware counts pictures: frames in a _sub folder, stacks elsewhere (live: 1 and 37).
    return {"name": folder.name, "thn": thumb, "count": sum(1 for _ in _frames(folder)), "type": 0}


def _frames(folder: Path) -> Iterator[Path]:
    return (place for place in folder.iterdir() if place.suffix in {".fit", ".fits"})


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: as the firmware does, so that nobody sees half a file."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)  # noqa: PTH105 - says better than Path.replace that it is one step
