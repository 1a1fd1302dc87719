"""The shapes in which scripts get what was found and done, as publicly documented."""

from __future__ import annotations

from datetime import datetime
from typing import NotRequired, TypedDict


class TargetDict(TypedDict):
    """A target on a telescope and how many FITS files lie in its two folders."""

    target: str
    raw_files: int
    stacked_files: int


class BlockDict(TypedDict):
    """A block of frames; the times are local, naive or with the telescope's fixed UTC offset."""

    block_start: datetime
    block_end: datetime
    exposure: str
    filter: str
    files: list[str]
    frame_count: int


class ResultDict(TypedDict):
    """What became of one block; ``output_file`` is `None` when the stack kept the telescope's own name."""

    block_start: datetime
    block_end: datetime
    exposure: str
    filter: str
    status: str
    frames: NotRequired[int | None]
    output_file: NotRequired[str | None]
    rename_failed: NotRequired[bool]
    error: NotRequired[str | None]


class TargetSummary(TypedDict):
    """What became of a target's blocks."""

    target: str
    blocks_stacked: int
    blocks_failed: int
    blocks_skipped: int
    results: list[ResultDict] | list[BlockDict]
    error: NotRequired[str]


class AllSummary(TypedDict):
    """What became of all targets."""

    targets_processed: int
    targets_with_work: int
    total_blocks_stacked: int
    total_blocks_failed: int
    total_blocks_skipped: int
    per_target: list[TargetSummary]


class PurgeSummary(TypedDict):
    """What was deleted; ``failed`` gives a reason for each file that would not go."""

    folders_scanned: int
    files_deleted: int
    deleted: list[str]
    failed: NotRequired[dict[str, str]]
