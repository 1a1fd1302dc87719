"""Files that a simulated server was sent, under names of its own."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that has arrived: where it lies, its size in bytes, the SHA-256 of its bytes."""

    path: Path
    size: int
    sha256: str


class KeptFiles:
    """A folder of files; a name from outside is never a path in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, source: BinaryIO, suffix: str) -> KeptFile:
        """Copy what is read from ``source`` into a file with a name of our own; it is there whole."""
        path = self._folder / f"{uuid.uuid4().hex}{suffix}"
        part = path.with_suffix(".part")
        digest, size = hashlib.sha256(), 0
        with part.open("wb") as file:
            while piece := source.read(_COPY_BYTES):
                digest.update(piece)
                size += file.write(piece)
        part.replace(path)
        return KeptFile(path, size, digest.hexdigest())

    def path_of(self, stored_as: str) -> Path:
        """Give where a file lies."""
        return self._folder / stored_as
