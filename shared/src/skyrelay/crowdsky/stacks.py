"""What CrowdSky says about stacks, and what we say when we send one.

The server is PHP over MariaDB: numbers may come as text, any field may be null, keys may be added.
A field that is not what it should be is `None`: it cannot be known, and never breaks the list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_TEXT = 300  # characters of a field that we keep; the server's own columns hold 255
_INTEGER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServerStack:
    """A row of ``my_stacks.php``; a field is `None` where the server does not say, or says nonsense.

    Attributes
    ----------
    id
        The server's number of the stack.
    chunk_key
        As the server computed it from the file's header. Different stacks may share one.
    object_name, telescope_id, filter_name
        From the header's OBJECT, TELESCOP (``S50_<serial>`` or the serial alone) and FILTER.
    date_obs_start, date_obs_end
        Aware UTC. The server keeps whole seconds, and writes no zone.
    n_frames_input, n_frames_aligned
        Frames given to the stack and frames used.
    total_exptime_s
        Seconds.
    ra_deg, dec_deg
        ICRS degrees.
    file_size_bytes
        Of the stack as the server keeps it, after its own processing.
    created_at
        The server's text: it does not say in which zone.
    """

    id: int | None = None
    chunk_key: str | None = None
    object_name: str | None = None
    telescope_id: str | None = None
    filter_name: str | None = None
    date_obs_start: datetime | None = None
    date_obs_end: datetime | None = None
    n_frames_input: int | None = None
    n_frames_aligned: int | None = None
    total_exptime_s: float | None = None
    ra_deg: float | None = None
    dec_deg: float | None = None
    file_size_bytes: int | None = None
    created_at: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, object]) -> ServerStack:
        """Read one row of the server's list."""
        return cls(
            id=whole_number(row.get("id")),
            chunk_key=text(row.get("chunk_key")),
            object_name=text(row.get("object_name")),
            telescope_id=text(row.get("telescope_id")),
            filter_name=text(row.get("filter_name")),
            date_obs_start=instant(row.get("date_obs_start")),
            date_obs_end=instant(row.get("date_obs_end")),
            n_frames_input=whole_number(row.get("n_frames_input")),
            n_frames_aligned=whole_number(row.get("n_frames_aligned")),
            total_exptime_s=number(row.get("total_exptime")),
            ra_deg=number(row.get("ra_deg")),
            dec_deg=number(row.get("dec_deg")),
            file_size_bytes=whole_number(row.get("file_size_bytes")),
            created_at=text(row.get("created_at")),
        )


@dataclass(frozen=True, slots=True)
class StackUpload:
    """A stack to be sent.

    Attributes
    ----------
    path
        The FITS file.
    file_name
        The name that the server is told.
    thumbnail
        A JPEG or PNG to go with it.
    n_frames_input, n_frames_aligned
        Frames given to the stack and frames used.
    date_obs_start, date_obs_end
        Aware times of the first and the last frame's DATE-OBS.
    scrub_location
        Blank the site's coordinates before the file leaves, and ask the server to do so too.
    """

    path: Path
    file_name: str
    thumbnail: Path | None = None
    n_frames_input: int | None = None
    n_frames_aligned: int | None = None
    date_obs_start: datetime | None = None
    date_obs_end: datetime | None = None
    scrub_location: bool = True

    def __post_init__(self) -> None:
        """Refuse naive times: nobody could tell what they mean."""
        for moment in (self.date_obs_start, self.date_obs_end):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone")


@dataclass(frozen=True, slots=True)
class RawFrameUpload:
    """A raw frame to be sent.

    Attributes
    ----------
    session_token
        Of the session that it goes into.
    path
        The FITS file.
    scrub_location
        Blank the site's coordinates before the file leaves.
    """

    session_token: str
    path: Path
    scrub_location: bool


@dataclass(frozen=True, slots=True)
class UploadReceipt:
    """The server's word that it has taken a file in; it is kept only once the server lists it.

    Attributes
    ----------
    job_id
        The server's number of the post-processing job.
    chunk_key
        The key that the server computed: the one that counts. `None` if it did not say.
    status
        ``queued`` as a rule; empty if it did not say.
    """

    job_id: int | None
    chunk_key: str | None
    status: str

    @classmethod
    def from_answer(cls, answer: Mapping[str, object]) -> UploadReceipt:
        """Read the server's answer to an upload."""
        return cls(
            job_id=whole_number(answer.get("job_id")),
            chunk_key=text(answer.get("chunk_key")),
            status=text(answer.get("status")) or "",
        )


def text(value: object) -> str | None:
    """Give printable text, cut to `MAX_TEXT` characters; `None` for anything else and for blanks."""
    if not isinstance(value, str):
        return None
    return "".join(character for character in value if character.isprintable()).strip()[:MAX_TEXT] or None


def whole_number(value: object) -> int | None:
    """Give a whole number that is not negative, whether it came as a number or as digits."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def number(value: object) -> float | None:
    """Give a finite number, whether it came as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        given = float(value)
    except (ValueError, OverflowError):
        return None
    return given if math.isfinite(given) else None


def instant(value: object) -> datetime | None:
    """Give an aware UTC time; one without a zone is UTC, as DATE-OBS is (FITS Standard 4.0, 9.2)."""
    if not isinstance(value, str):
        return None
    try:
        given = datetime.fromisoformat(value.strip())
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
