"""The archive: ``<telescope>/<target>/<CrowdSky name>``, each file whole, hashed and never replaced."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skyrelay.errors import RefusedByRule, TransientError

_ARRIVING = ".arriving"  # inside the archive: the last step of a file must stay on one file system
_FORBIDDEN = frozenset('/\\:*?"<>|')  # separators, and what no file server hands on
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in "123456789")}
)
_MAX_BYTES = 200  # file systems take 255; the rest is for a number, a suffix and `.part`
_SAME_NAMES = 1000  # far more stacks of one name than there can be
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


class AlreadyArriving(RefusedByRule):
    """Another worker is fetching this stack right now."""


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
    def arriving(self, stack_id: int) -> Iterator[Path]:
        """Give a folder for what arrives of a stack, to one worker at a time.

        It stays when the work inside fails, so that the next one resumes; else it goes.

        Raises
        ------
        AlreadyArriving
            If another worker has it, even one that has been stopped (SIGSTOP) for longer than its lease.
        """
        folder = self._root / _ARRIVING / str(stack_id)
        with self._disk():
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("ab")
        with lock:
            _lock(lock.fileno(), folder)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)

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
        with self._disk():
            sha256, size_bytes = sha256_of(arrived), arrived.stat().st_size
            folder = self._root / safe_component(telescope) / safe_component(target)
            folder.mkdir(parents=True, exist_ok=True)
            final = _put(arrived, folder, safe_component(name), sha256)
            _sync(folder)
        return Kept(final.relative_to(self._root).as_posix(), size_bytes, sha256)

    def locate(self, path: str) -> Path:
        """Give where a kept file lies.

        Raises
        ------
        ValueError
            If the path leads out of the archive.
        """
        parts = PurePosixPath(path).parts
        if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
            raise ValueError(f"{path!r} is no path in the archive")
        return self._root.joinpath(*parts)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransientError(f"the archive {self._root} cannot be written: {error.strerror}") from error


def safe_component(name: str) -> str:
    """Make one component of a path of a name from outside; a name that is one already stays as it is.

    What had to be shortened gets a few digits of its hash, so that two long names stay two.
    """
    text = unicodedata.normalize("NFC", name)
    text = "".join("_" if _is_forbidden(character) else character for character in text)
    text = text.strip().rstrip(". ") or "_"
    if text.startswith(".") or text.partition(".")[0].casefold() in _DEVICES:
        text = "_" + text
    return _shortened(text)


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN or unicodedata.category(character) in _UNPRINTABLE


def _shortened(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _MAX_BYTES:
        return text
    suffix = PurePosixPath(text).suffix
    suffix = suffix if len(suffix.encode()) <= 10 else ""
    mark = f"~{hashlib.sha256(encoded).hexdigest()[:8]}{suffix}"
    return encoded[: _MAX_BYTES - len(mark.encode())].decode(errors="ignore").rstrip() + mark


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AlreadyArriving(f"another worker is fetching into {folder}") from error
    except OSError as error:
        raise TransientError(f"{folder} cannot be locked: {error.strerror}") from error


def _put(arrived: Path, folder: Path, name: str, sha256: str) -> Path:
    for final in _places(folder, name):
        if _takes_name(arrived, final) or (final.is_file() and sha256_of(final) == sha256):
            arrived.unlink(missing_ok=True)
            return final
    raise FileExistsError(errno.EEXIST, f"{_SAME_NAMES} files are called {name}", str(folder))


def _places(folder: Path, name: str) -> Iterator[Path]:
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    yield folder / name
    for number in range(2, _SAME_NAMES):
        yield folder / f"{stem}_{number}{suffix}"


def _takes_name(arrived: Path, final: Path) -> bool:
    """Give a file its name at once or not at all, and never another file's."""
    try:
        os.link(arrived, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if final.exists():  # exFAT and some network mounts know no hard links
            return False
        arrived.rename(final)
    return True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
