"""Where stacks to be uploaded lie: in a folder of this machine, or on a telescope."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from skyrelay.arrivals import arriving_in, put_under_name, sha256_of
from skyrelay.crowdsky.stack_facts import StackFacts, stack_facts
from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.fits_header import FitsHeader, promised_size, read_header
from skyrelay.seestar.listing import RemoteFile
from skyrelay.seestar.telescope import Telescope

_PREFIX = "crowdsky_"
_FITS_SUFFIXES = frozenset({".fit", ".fits"})
ALL = "all"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is called like a CrowdSky stack.

    Attributes
    ----------
    name
        Its file name; of a folder that cannot be looked into, the folder's.
    folder
        Where it lies, for a person.
    facts
        What it tells of itself; `None` if it cannot be uploaded.
    problem
        Why it cannot be uploaded.
    same_as
        The name of the file that it is another name of.
    path
        Where it lies on this machine; `None` while it is on a telescope.
    """

    name: str
    folder: str
    facts: StackFacts | None = None
    problem: str = ""
    same_as: str = ""
    path: Path | None = None


class StackSource(Protocol):
    """A place where stacks lie."""

    def find(self) -> list[Candidate]:
        """Find the stacks, by folder and name, and whatever is in the way of one."""

    def fetch(self, candidate: Candidate) -> Path:
        """Bring a stack to this machine if it is not here."""

    @property
    def folders_scanned(self) -> int:
        """How many folders were looked into."""


def is_stack_name(name: str) -> bool:
    """Tell whether a file is called like a CrowdSky stack, whatever the case of its letters."""
    return name.casefold().startswith(_PREFIX) and PurePosixPath(name).suffix.casefold() in _FITS_SUFFIXES


class LocalStacks:
    """The stacks below a folder of this machine.

    Parameters
    ----------
    folder
        Looked into with all folders in it. Links to what lies outside of it are not followed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folders_scanned = 1

    def find(self) -> list[Candidate]:
        """Find the stacks.

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            If there is no such folder: that is not an empty one.
        """
        root = self._folder.resolve(strict=True)
        if not root.is_dir():
            raise NotADirectoryError(f"{self._folder} is no folder")
        seen: dict[tuple[int, int], str] = {}
        return [self._candidate(path, root, seen) for path in _walk(root)]

    def fetch(self, candidate: Candidate) -> Path:
        """Give where it lies."""
        if candidate.path is None:
            raise ValueError(f"{candidate.name} lies nowhere on this machine")
        return candidate.path

    def _candidate(self, path: Path, root: Path, seen: dict[tuple[int, int], str]) -> Candidate:
        folder = path.parent.relative_to(root).as_posix()
        try:
            return self._read(path, folder, root, seen)
        except OSError as error:
            return Candidate(path.name, folder, problem=f"it cannot be read: {error.strerror}")
        except SkyrelayError as error:
            return Candidate(path.name, folder, problem=str(error))

    def _read(self, path: Path, folder: str, root: Path, seen: dict[tuple[int, int], str]) -> Candidate:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            return Candidate(path.name, folder, problem=f"it is a link that leads out of {self._folder}")
        if not stat.S_ISREG(path.stat().st_mode):
            return Candidate(path.name, folder, problem="it is no file, or a folder that cannot be read")
        with path.open("rb") as file:
            of_file = os.fstat(file.fileno())
            first = seen.setdefault((of_file.st_dev, of_file.st_ino), path.name)
            header = read_header(file.read)
        facts = _whole(path.name, header, of_file.st_size)
        return Candidate(path.name, folder, facts, same_as="" if first is path.name else first, path=path)


def _walk(root: Path) -> Iterator[Path]:
    """Name the stacks, links that lead out and folders that cannot be read, in order."""
    unreadable: list[Path] = []
    found: list[Path] = []
    walk = os.walk(root, onerror=lambda error: unreadable.append(Path(error.filename)))
    for folder, folders, files in walk:
        here = Path(folder)
        found += [here / name for name in files if is_stack_name(name)]
        links = [here / name for name in folders if (here / name).is_symlink()]
        found += [link for link in links if not link.resolve().is_relative_to(root)]
        found += [here / name for name in folders if is_stack_name(name)]
    return iter(sorted({*found, *unreadable}))


class TelescopeStacks:
    """The stacks on a telescope.

    Its folders are listed over SMB and its files read over HTTP: neither needs the telescope's lease.

    Parameters
    ----------
    telescope
        Where they lie.
    targets
        Names of targets' folders; `None` takes all of them.
    dest
        Where fetched files are kept, in a folder for each target.
    """

    def __init__(self, telescope: Telescope, targets: Iterable[str] | None, dest: Path) -> None:
        self._telescope = telescope
        self._targets = None if targets is None else list(dict.fromkeys(targets))
        self._dest = dest
        self._sizes: dict[tuple[str, str], int | None] = {}
        self.folders_scanned = 0

    def find(self) -> list[Candidate]:
        """Find the stacks.

        Raises
        ------
        SkyrelayError
            If the folders cannot be listed: that does not mean that there are none.
        """
        found: list[Candidate] = []
        for folder in self._folders():
            self.folders_scanned += 1
            found += self._find_in(folder)
        return found

    def fetch(self, candidate: Candidate) -> Path:
        """Download a stack; an equal one that is here already is taken, another one of its name stays.

        Raises
        ------
        SkyrelayError
            If it did not arrive whole.
        """
        folder, name = self._dest / candidate.folder, candidate.name
        here = folder / name
        if candidate.facts is not None and _is_same(here, candidate.facts):
            return here
        with arriving_in(folder / f".{name}.part") as place:
            size = self._sizes.get((candidate.folder, name))
            arrived = self._telescope.download(candidate.folder, name, place / "stack.fit", size)
            try:
                return put_under_name(arrived, folder, name, sha256_of(arrived))
            except OSError as error:
                raise TransientError(f"{folder} cannot be written: {error.strerror}") from error

    def _folders(self) -> list[str]:
        if self._targets is not None:
            return self._targets
        listing = self._telescope.list_targets_folders(allow_rpc=False)
        return [folder for folder in listing.folders if not folder.endswith(SUB_FOLDER_SUFFIX)]

    def _find_in(self, folder: str) -> list[Candidate]:
        try:
            files = self._telescope.list_folder(folder, allow_rpc=False).files
        except SkyrelayError as error:
            return [Candidate(folder, folder, problem=f"the folder cannot be listed: {error}")]
        return [self._candidate(folder, file) for file in files if is_stack_name(file.name)]

    def _candidate(self, folder: str, file: RemoteFile) -> Candidate:
        self._sizes[folder, file.name] = file.size_bytes
        try:
            header = self._telescope.read_header(folder, file.name)
            size = promised_size(header) if file.size_bytes is None else file.size_bytes
            return Candidate(file.name, folder, _whole(file.name, header, size))
        except SkyrelayError as error:
            return Candidate(file.name, folder, problem=str(error))


def _whole(name: str, header: FitsHeader, size_bytes: int) -> StackFacts:
    promised = promised_size(header)
    if size_bytes < promised:
        raise TransientError(f"it is cut short: it has {size_bytes} bytes, its header promises {promised}")
    return stack_facts(name, header, size_bytes)


def _is_same(path: Path, facts: StackFacts) -> bool:
    """Tell whether a file here is the one that a telescope has, by size and header."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return stack_facts(facts.name, read_header(file.read), size).fingerprint == facts.fingerprint
    except (OSError, SkyrelayError):
        return False
