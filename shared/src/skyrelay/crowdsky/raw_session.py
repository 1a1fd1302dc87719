"""A session of raw frames at the server: what every sender of them has in common.

Whatever goes wrong before a session is finalized leaves nothing on the server that counts: an unfinished
session is never stacked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from skyrelay.crowdsky.body import Progress
from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.errors import UploadRefused
from skyrelay.crowdsky.stacks import RawFrameUpload, ServerStack, whole_number


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What the server made of a session.

    Attributes
    ----------
    chunks
        The chunk keys of which it queued a stack.
    skipped
        Those that hold a stack already: their frames were dropped.
    jobs
        The numbers of the post-processing jobs.
    """

    chunks: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    jobs: tuple[int, ...] = ()

    @classmethod
    def from_answer(cls, answer: Mapping[str, object]) -> RawAnswer:
        """Read the server's answer to the end of a session."""
        jobs = (whole_number(job) for job in _each(answer.get("job_ids")))
        return cls(
            chunks=_keys(answer.get("chunks")),
            skipped=_keys(answer.get("skipped")),
            jobs=tuple(job for job in jobs if job is not None),
        )


def hand_in(client: CrowdSkyClient, frame: RawFrameUpload, on_progress: Progress | None = None) -> str:
    """Send a frame into its session; give the server's words if it will not have it: no other frame's matter.

    Raises
    ------
    SessionUnknown, CrowdSkyError, skyrelay.fits_header.FitsError
        As `CrowdSkyClient.send_raw_frame` does, all but `UploadRefused`.
    """
    try:
        client.send_raw_frame(frame, on_progress)
    except UploadRefused as error:
        return str(error)
    return ""


def held_by(rows: Iterable[ServerStack], chunk_keys: Collection[str]) -> list[ServerStack]:
    """Give the stacks that the chunks hold: the server skips raw frames for them, or deletes all of these."""
    return [row for row in rows if row.chunk_key in chunk_keys]


def rows_in_words(rows: Iterable[ServerStack]) -> str:
    """Name stacks of the server for a person."""
    return ", ".join(
        f"stack {row.id} ({row.object_name or 'no object'}, {row.filter_name or 'no filter'})" for row in rows
    )


def _keys(value: object) -> tuple[str, ...]:
    return tuple(key for key in _each(value) if isinstance(key, str))


def _each(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
