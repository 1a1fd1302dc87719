"""Where a file of the archive lies: the books hold paths below its folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def locate(root: Path, path: str) -> Path:
    """Give where a kept file lies.

    Parameters
    ----------
    root
        The archive's folder.
    path
        Below it, with ``/``.

    Raises
    ------
    ValueError
        If the path leads out of the archive.
    """
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise ValueError(f"{path!r} is no path in the archive")
    return root.joinpath(*parts)
