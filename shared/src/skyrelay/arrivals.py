"""Files that come from outside: safe names, a place while they arrive, and their final name.

A name from outside is never a path, and a file that has a name is never replaced by another.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from skyrelay.errors import RefusedByRule, TransientError

_FORBIDDEN = frozenset('/\\:*?"<>|')  # separators, and what no file server hands on
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in "123456789")}
)
_MAX_BYTES = 200  # file systems take 255; the rest is for a number, a suffix and `.part`
_SAME_NAMES = 1000  # far more stacks of one name than there can be
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


class AlreadyArriving(RefusedByRule):
    """Another process is fetching the same file into the same folder right now."""


@contextmanager
def arriving_in(folder: Path) -> Iterator[Path]:
    """Give a folder for what arrives of a file, to one process at a time.

    It stays when the work inside fails, so that the next one resumes; else it goes.

    Raises
    ------
    AlreadyArriving
        If another process has it, even one that has been stopped (SIGSTOP) for long.
    TransientError
        If the disk is full, gone or not ours to write on.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise TransientError(f"{folder} cannot be written: {error.strerror}") from error
    with lock:
        _lock(lock.fileno(), folder)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def put_under_name(arrived: Path, folder: Path, name: str, sha256: str) -> Path:
    """Move a whole file into a folder, with a number behind its name where that is another file's.

    A file of the same name and content is the same file: then there is nothing left to be moved.

    Parameters
    ----------
    name
        A safe name, see `safe_component`.
    sha256
        Of the file that arrived.

    Raises
    ------
    OSError
        If the disk is full, gone or not ours to write on.
    """
    final = _put(arrived, folder, name, sha256)
    _sync(folder)
    return final


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
        raise AlreadyArriving(f"another process is fetching into {folder}") from error
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
