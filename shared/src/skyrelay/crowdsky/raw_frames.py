"""Raw frames on this machine, grouped into what the server can stack: pure, but for the reading.

One session holds frames of one chunk (by DATE-OBS, as the server files them), filter and exposure, of one
telescope and object: the server stacks a session's frames by chunk and telescope alone, and would mix the
rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from skyrelay.crowdsky.matching import StackIdentity
from skyrelay.crowdsky.server_key import server_chunk_key
from skyrelay.domain.chunk import chunk_of
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.fits_header import FitsHeader, NotFits, date_obs, promised_size, read_header

_PREFIX = "light_"
_FITS_SUFFIXES = frozenset({".fit", ".fits"})


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A raw frame.

    Attributes
    ----------
    telescope, object_name, filter_name
        As its header says; empty if it does not.
    exposure_s
        Seconds; `None` if not known.
    started_at
        DATE-OBS, aware UTC.
    chunk_key
        As the server computes it.
    """

    path: Path
    size_bytes: int
    telescope: str
    object_name: str
    filter_name: str
    exposure_s: float | None
    started_at: datetime
    chunk_key: str

    @property
    def kind(self) -> tuple[str, str, str, str, float]:
        """What frames of one session have in common."""
        chunk = chunk_of(self.started_at)
        return chunk, self.telescope, self.object_name, self.filter_name, self.exposure_s or 0.0


@dataclass(frozen=True, slots=True)
class RawGroup:
    """The frames of one session, by start."""

    frames: Sequence[RawFrame]

    @property
    def title(self) -> str:
        """What it is, for a person."""
        first = self.frames[0]
        exposure = "" if first.exposure_s is None else f"{first.exposure_s:g} s"
        parts = (first.object_name, first.filter_name, exposure, chunk_of(first.started_at))
        return " ".join(part for part in parts if part)

    @property
    def chunk_keys(self) -> frozenset[str]:
        """The keys that the server files it under: two, when the position drifts over a pixel's edge."""
        return frozenset(frame.chunk_key for frame in self.frames)

    @property
    def size_bytes(self) -> int:
        """Size of all frames."""
        return sum(frame.size_bytes for frame in self.frames)

    @property
    def identities(self) -> tuple[StackIdentity, ...]:
        """What its stacks will be known by; see `identities_of`."""
        first = self.frames[0]
        starts = [(frame.chunk_key, frame.started_at) for frame in self.frames]
        return identities_of(first.telescope, first.filter_name, starts)

    @property
    def fingerprint(self) -> str:
        """Equal for the same frames."""
        return fingerprint_of(self.kind, [frame.started_at for frame in self.frames])

    @property
    def kind(self) -> str:
        """What the fingerprints of all groups of the same frames' `RawFrame.kind` begin with."""
        return ";".join(["raw", *(str(part) for part in self.frames[0].kind), ""])


def fingerprint_of(kind: str, starts: Sequence[datetime]) -> str:
    """Give a group's fingerprint: ``kind`` as `RawGroup.kind`, and each frame's aware DATE-OBS, by start."""
    return f"{kind}{starts[0].isoformat()};{starts[-1].isoformat()};frames={len(starts)}"


def identities_of(
    telescope: str, filter_name: str, starts: Iterable[tuple[str, datetime]]
) -> tuple[StackIdentity, ...]:
    """Give what the stacks of a session will be known by: the server makes one of each chunk key.

    Parameters
    ----------
    starts
        Chunk key and aware DATE-OBS of each frame; the server takes a stack's span from them.
    """
    ordered = sorted(starts)
    return tuple(
        StackIdentity(
            telescope_serial=telescope,
            filter_name=filter_name,
            first_start_at=members[0][1],
            last_start_at=members[-1][1],
            chunk_keys=frozenset({key}),
        )
        for key, members in ((key, list(group)) for key, group in groupby(ordered, key=lambda pair: pair[0]))
    )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not sent, and why; ``is_copy``: of one that is sent."""

    path: Path
    reason: str
    is_copy: bool = False


def find_raw_frames(paths: Iterable[Path]) -> tuple[list[RawFrame], list[LeftOut]]:
    """Read the headers of raw frames.

    Parameters
    ----------
    paths
        Files, and folders in which (and below which) all ``Light_*.fit`` and ``.fits`` are taken.
    """
    frames: list[RawFrame] = []
    left_out: list[LeftOut] = []
    for path in _files(paths):
        try:
            frames.append(_read(path))
        except OSError as error:
            left_out.append(LeftOut(path, f"it cannot be read: {error.strerror}"))
        except SkyrelayError as error:
            left_out.append(LeftOut(path, str(error)))
    return frames, left_out


def group_raw_frames(frames: Iterable[RawFrame]) -> tuple[list[RawGroup], list[LeftOut]]:
    """Group frames into sessions, by start; a frame that is there twice goes once.

    Returns
    -------
    tuple
        The groups, and what was left out: second copies, and frames whose name another of the group has
        (in a session the server keeps one file a name).
    """
    ordered = sorted(frames, key=lambda frame: (*frame.kind, frame.started_at, frame.path))
    groups, left_out = [], []
    for _, members in groupby(ordered, key=lambda frame: frame.kind):
        kept: list[RawFrame] = []
        for frame in members:
            obstacle = _obstacle(frame, kept)
            if obstacle:
                left_out.append(obstacle)
            else:
                kept.append(frame)
        groups.append(RawGroup(kept))
    return groups, left_out


def _obstacle(frame: RawFrame, kept: Sequence[RawFrame]) -> LeftOut | None:
    if kept and kept[-1].started_at == frame.started_at:
        return LeftOut(frame.path, f"it is the same frame as {kept[-1].path}", is_copy=True)
    for other in kept:
        if other.path.name == frame.path.name:
            reason = f"{other.path} of the same session has the same name: rename one of them"
            return LeftOut(frame.path, reason)
    return None


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[str] = set()
    for path in paths:
        for file in _files_in(path) if path.is_dir() else [path]:
            real = os.path.realpath(file)
            if real not in seen:
                seen.add(real)
                yield file


def _files_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    for here, _, names in os.walk(folder, onerror=_refuse):
        found += [Path(here, name) for name in names if _is_light_frame(name)]
    return sorted(found)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is not an empty one."""
    raise TransientError(f"{error.filename} cannot be listed: {error.strerror}") from error


def _is_light_frame(name: str) -> bool:
    return name.casefold().startswith(_PREFIX) and Path(name).suffix.casefold() in _FITS_SUFFIXES


def _read(path: Path) -> RawFrame:
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotFits("it is no file")
    with path.open("rb") as file:
        header, size = read_header(file.read), os.fstat(file.fileno()).st_size
    return raw_frame(path, header, size)


def raw_frame(path: Path, header: FitsHeader, size: int) -> RawFrame:
    """Make a raw frame of a header.

    Parameters
    ----------
    path
        Where it lies, or will lie; its last part is the name that the server is told.
    size
        Bytes of the file.

    Raises
    ------
    TransientError
        If the file is shorter than its header promises.
    NotFits
        If it has no DATE-OBS, without which the server takes no frame.
    """
    if size < promised_size(header):
        raise TransientError(f"it is cut short: {size} bytes, its header promises {promised_size(header)}")
    started_at, chunk_key = date_obs(header), server_chunk_key(header)
    if started_at is None or chunk_key is None:
        raise NotFits("its header has no DATE-OBS, without which the server takes no frame")
    return RawFrame(
        path=path,
        size_bytes=size,
        telescope=header.text("TELESCOP") or "",
        object_name=header.text("OBJECT") or "",
        filter_name=header.text("FILTER") or "",
        exposure_s=header.number("EXPTIME"),
        started_at=started_at,
        chunk_key=chunk_key,
    )
