"""The archive: ``<telescope>/<target>/<CrowdSky name>``, each file whole, hashed and never replaced."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from skyrelay.archive_paths import locate
from skyrelay.arrivals import arriving_in, put_under_name, safe_component, sha256_of
from skyrelay.errors import TransientError

_ARRIVING = ".arriving"  # inside the archive: the last step of a file must stay on one file system


def free_bytes_at(folder: Path) -> int:
    """Give what is free for us on the disk that a folder, which need not exist yet, lies on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Kept:
    """A file in the archive.

    Attributes
    ----------
    path
        Relative to the archive, with ``/``.
    size_bytes
        Its size.
    sha256
        Of its bytes, in hex.
    """

    path: str
    size_bytes: int
    sha256: str


class Archive:
    """The folder where fetched stacks are kept.

    Parameters
    ----------
    root
        The folder; made when the first stack arrives.

    Raises
    ------
    TransientError
        From each method, if the disk is full, gone or not ours to write on.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def arriving(self, what: int | str) -> Iterator[Path]:
        """Give a folder for what arrives of a stack (its id) or of raw frames, to one worker at a time.

        It stays when the work inside fails, so that the next one resumes; else it goes.

        Raises
        ------
        AlreadyArriving
            If another worker has it, even one that has been stopped (SIGSTOP) for longer than its lease.
        """
        with arriving_in(self._root / _ARRIVING / str(what)) as folder:
            yield folder

    def keep(self, arrived: Path, telescope: str, target: str, name: str) -> Kept:
        """Move a whole file into its place, under its name or, where that is taken, with a number behind it.

        A file of the same name and content is the same file: an earlier worker died before it said so.

        Parameters
        ----------
        arrived
            Where the file lies, in a folder of `arriving`.
        telescope, target, name
            What it is called; unsafe characters are replaced.
        """
        with self.on_disk():
            sha256, size_bytes = sha256_of(arrived), arrived.stat().st_size
            folder = self._root / safe_component(telescope) / safe_component(target)
            folder.mkdir(parents=True, exist_ok=True)
            final = put_under_name(arrived, folder, safe_component(name), sha256)
        return Kept(final.relative_to(self._root).as_posix(), size_bytes, sha256)

    def locate(self, path: str) -> Path:
        """Give where a kept file lies.

        Raises
        ------
        ValueError
            If the path leads out of the archive.
        """
        return locate(self._root, path)

    def folder_of(self, telescope: str) -> Path:
        """Give where a telescope's stacks lie: a disk of its own may be mounted there."""
        return self._root / safe_component(telescope)

    @contextmanager
    def on_disk(self) -> Iterator[None]:
        """Say as `TransientError` what the disk says of what is done inside, so that it can be booked."""
        try:
            yield
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise TransientError(f"the archive {self._root} cannot be used: {problem}") from error
