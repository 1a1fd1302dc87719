"""CrowdSky's time blocks, for scripts: preview, stack and purge on one's own telescopes.

Every function that the public documentation of CrowdSky's chunks names is here, with its arguments,
defaults and return shapes. The functions above the telescope are pure. Those below drive the
configured telescopes directly, without any service running, and take the same lease as the services,
so that both never drive one telescope at the same time.

Typical workflow::

    from skyrelay import crowdsky

    crowdsky.list_targets()
    crowdsky.stack_blocks("M 81", dry_run=True)   # preview
    crowdsky.stack_blocks("M 81")
    crowdsky.stack_all()

The configuration is the file that ``SKYRELAY_CONFIG`` names, and the environment. ``ips`` picks
telescopes by name, serial number or address, one or several; ``"all"`` takes every configured one, in
parallel. For one telescope a function gives its plain value, for several a dict by serial number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from operator import itemgetter
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

from skyrelay.direct.planning import list_target_folders, plan_blocks, targets_with_frames
from skyrelay.direct.purging import purge
from skyrelay.direct.stacking import Limits, stack_everything, stack_target
from skyrelay.direct.summaries import AllSummary, BlockDict, PurgeSummary, TargetDict, TargetSummary
from skyrelay.direct.telescopes import OwnTelescope, on_each
from skyrelay.domain.block import BLOCK_MINUTES, check_block_minutes, local_block_start
from skyrelay.domain.chunk import UNKNOWN_PIXEL, ChunkKey, chunk_of, healpix_pixel
from skyrelay.domain.light_frame import PATTERN as LIGHT_RE
from skyrelay.domain.light_frame import split_name
from skyrelay.domain.stack_name import CURRENT as CROWDSKY_RE
from skyrelay.domain.stack_name import LEGACY as CROWDSKY_RE_LEGACY
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName
from skyrelay.logs import get_logger
from skyrelay.settings import load_settings
from skyrelay.store.accounts import settings_in_force

__all__ = [
    "CROWDSKY_RE",
    "CROWDSKY_RE_LEGACY",
    "LIGHT_RE",
    "compute_chunk_key",
    "filter_covered_blocks",
    "find_unstacked_blocks",
    "group_frames_into_blocks",
    "list_targets",
    "local_dt_to_chunk_str",
    "parse_coverage_from_filenames",
    "parse_light_filename",
    "purge_crowdsky_stacks",
    "stack_all",
    "stack_blocks",
]

Telescopes = str | Iterable[str] | None  # names, serial numbers or addresses; "all"
Covered = set[tuple[str, str, str]]  # (chunk, exposure, filter)
_BY_KEY = itemgetter("block_start", "exposure", "filter")


class LightFrame(TypedDict):
    """What a light frame's name says; ``datetime`` is the telescope's naive local time of saving."""

    target: str
    exposure: str
    filter: str
    datetime: datetime


# -- pure ---------------------------------------------------------------------------------------------


def parse_light_filename(filename: str) -> LightFrame | None:
    """Parse a raw light frame's file name.

    Parameters
    ----------
    filename
        E.g. ``Light_M 81_20.0s_LP_20260227-225203.fit``.

    Returns
    -------
    dict or None
        ``target``, ``exposure`` (as written, ``20.0s``), ``filter`` (empty where the name has none) and
        ``datetime`` (naive local time); `None` for any other name, an impossible date included.
    """
    parts = split_name(filename)
    if parts is None:
        return None
    (target, exposure, filter_), saved_local, _ = parts
    return {"target": target, "exposure": exposure, "filter": filter_, "datetime": saved_local}


def group_frames_into_blocks(
    parsed_frames: Iterable[Mapping[str, Any]], block_minutes: int = BLOCK_MINUTES
) -> dict[tuple[datetime, str, str], BlockDict]:
    """Group parsed frames into clock-aligned blocks, by the time in their names.

    Parameters
    ----------
    parsed_frames
        As `parse_light_filename` gives them, with ``filename`` added. Frames that also carry a
        ``utc_offset`` (`timedelta`, local minus UTC) get an aware ``block_start`` of that fixed offset:
        when the clocks go back, the hour that comes twice is two hours.
    block_minutes
        A divisor of 60.

    Returns
    -------
    dict
        By (block_start, exposure, filter): ``block_start``, ``block_end``, ``exposure``, ``filter``,
        ``files`` (sorted) and ``frame_count``.

    Raises
    ------
    ValueError
        If blocks of that length do not tile the hour, or if only some frames carry an offset.
    """
    check_block_minutes(block_minutes)
    blocks: dict[tuple[int, timedelta | None, str, str], BlockDict] = {}
    for frame in parsed_frames:
        moment: datetime = frame["datetime"]
        # Dates are compared as numbers: cutting each one's minutes off would take most of the time.
        minute = (moment.toordinal() * 24 + moment.hour) * 60 + moment.minute
        slot = (minute // block_minutes, frame.get("utc_offset"), frame["exposure"], frame["filter"])
        block = blocks.get(slot)
        if block is None:
            block = blocks[slot] = _new_block(moment, slot[1], slot[2], slot[3], block_minutes)
        block["files"].append(frame["filename"])
    _check_one_kind(offset for _, offset, _, _ in blocks)
    for block in blocks.values():
        block["files"].sort()
        block["frame_count"] = len(block["files"])
    return {_BY_KEY(block): block for block in blocks.values()}


def _new_block(
    moment: datetime, offset: timedelta | None, exposure: str, filter_: str, minutes: int
) -> BlockDict:
    start = local_block_start(moment, minutes)
    if offset is not None:
        start = start.replace(tzinfo=timezone(offset))
    end = start + timedelta(minutes=minutes)
    return {
        "block_start": start,
        "block_end": end,
        "exposure": exposure,
        "filter": filter_,
        "files": [],
        "frame_count": 0,
    }


def _check_one_kind(offsets: Iterable[timedelta | None]) -> None:
    if len({offset is None for offset in offsets}) > 1:
        raise ValueError(
            "some frames carry a utc_offset and some do not: give it for all of them, or for none"
        )


def local_dt_to_chunk_str(dt_local: datetime, tz: tzinfo | str | None = None) -> str:
    """Name the UTC chunk (``YYYYMMDD.CC``) of a local time.

    Parameters
    ----------
    dt_local
        A naive local time (``fold`` tells the second of two equal hours), or an aware time.
    tz
        The zone of a naive time, or its IANA name; this server's zone when not given.
    """
    if dt_local.tzinfo is None and tz is not None:
        dt_local = dt_local.replace(tzinfo=ZoneInfo(tz) if isinstance(tz, str) else tz)
    return chunk_of(dt_local)  # a naive time is this server's there, and its fold is honoured


def compute_chunk_key(block_start: datetime, ra_deg: float | None, dec_deg: float | None) -> str:
    """Build a chunk key (``20250115.78_HP049152``) from a block's start and a position.

    Parameters
    ----------
    block_start
        Naive in this server's zone, or aware.
    ra_deg, dec_deg
        ICRS degrees. An unknown position is written ``HP000000``, which is also a real pixel: a warning
        says so.

    Raises
    ------
    ValueError
        If the position is not on the sky.
    """
    chunk = local_dt_to_chunk_str(block_start)
    if ra_deg is None or dec_deg is None:
        get_logger(__name__).warning("the position is not known: the chunk key says HP000000", chunk=chunk)
        return str(ChunkKey(chunk, UNKNOWN_PIXEL))
    return str(ChunkKey(chunk, healpix_pixel(ra_deg, dec_deg)))


def parse_coverage_from_filenames(filenames: Iterable[str]) -> Covered:
    """Extract (chunk, exposure, filter) of each ``CrowdSky_*`` stack, in the current and the legacy form.

    A legacy name tells the local start of its block, in this server's zone, and no length: it counts as
    15 minutes. (`find_unstacked_blocks` and the services know more, see `skyrelay.domain.coverage`.)
    """
    covered: Covered = set()
    for file_name in filenames:
        name = CrowdSkyName.parse(file_name) or CrowdSkyLegacyName.parse(file_name)
        if isinstance(name, CrowdSkyName):
            covered.add((name.key.chunk, name.exposure, name.filter))
        elif name is not None:
            covered.add((local_dt_to_chunk_str(name.block_start_local), name.exposure, name.filter))
    return covered


def filter_covered_blocks(
    blocks: Mapping[tuple[datetime, str, str], BlockDict], covered: Covered
) -> list[BlockDict]:
    """Give the blocks, sorted, whose (chunk, exposure, filter) is not in ``covered``.

    Parameters
    ----------
    blocks
        As `group_frames_into_blocks` gives them.
    covered
        As `parse_coverage_from_filenames` gives it.
    """
    return [
        blocks[key]
        for key in sorted(blocks)
        if (local_dt_to_chunk_str(key[0]), key[1], key[2]) not in covered
    ]


# -- on the telescope -----------------------------------------------------------------------------------


def list_targets(*, ips: Telescopes = None) -> list[TargetDict] | dict[str, list[TargetDict]]:
    """List the targets that have both raw sub-frames and a folder of stacks.

    Returns
    -------
    list of dict
        ``target``, ``raw_files`` (light frames in ``<target>_sub``) and ``stacked_files`` (FITS files in
        ``<target>``), sorted by target. For several telescopes a dict of lists by serial number.

    Raises
    ------
    skyrelay.errors.SkyrelayError
        If a telescope cannot be listed: that is never an empty list.
    """

    def work(telescope: OwnTelescope) -> list[TargetDict]:
        return list_target_folders(telescope)

    return on_each(settings_in_force(load_settings(), of=()), ips, work)


def find_unstacked_blocks(
    target: str, block_minutes: int = BLOCK_MINUTES, *, block_time: str = "name", ips: Telescopes = None
) -> list[BlockDict] | dict[str, list[BlockDict]]:
    """Find the blocks of a target's frames that have no stack yet.

    Blocks that have not ended are left out; so are, with a warning, frames of which the telescope's clock
    was wrong or that cannot be read.

    Parameters
    ----------
    target
        As the telescope names its folder, e.g. ``M 81``.
    block_minutes
        A divisor of 60. Lengths other than 15 are covered by the stacks that we made of them alone.
    block_time
        ``name``: a frame belongs to the block of the time in its name, as documented. ``start``: to the
        one in which its exposure began, as `stack_blocks` and the services have it.

    Returns
    -------
    list of dict
        Sorted: ``block_start`` and ``block_end`` (aware, the telescope's own UTC offset), ``exposure``,
        ``filter``, ``files`` (sorted), ``frame_count``. For several telescopes a dict by serial number.

    Raises
    ------
    skyrelay.errors.SkyrelayError
        If the telescope cannot be listed: that is never "nothing is stacked", nor "nothing to do".
    """
    check_block_minutes(block_minutes)

    def work(telescope: OwnTelescope) -> list[BlockDict]:
        plans = plan_blocks(telescope, target, block_minutes, block_time)
        return [plan.as_dict() for plan in plans]

    return on_each(settings_in_force(load_settings(), of=()), ips, work)


def stack_blocks(
    target: str,
    block_minutes: int = BLOCK_MINUTES,
    min_exptime: float = 240,
    dry_run: bool = False,
    max_wait_sec: float = 3600,
    *,
    ips: Telescopes = None,
) -> TargetSummary | dict[str, TargetSummary]:
    """Have the telescope stack each block of a target that has no stack yet, one after the other.

    A frame belongs to the block in which its exposure began. Each stack gets its CrowdSky name; one that
    cannot be renamed now is remembered, counts as stacked, and is renamed by the next run or by the
    services. A telescope that observes is left alone, and a stack makes way for an observation.

    Parameters
    ----------
    target
        E.g. ``M 81``.
    block_minutes
        A divisor of 60.
    min_exptime
        Least total exposure of a block in seconds; shorter ones are skipped.
    dry_run
        Print what would be stacked, and do nothing.
    max_wait_sec
        Seconds that one block may take before it is stopped and counted as failed.

    Returns
    -------
    dict
        ``target``, ``blocks_stacked``, ``blocks_failed``, ``blocks_skipped`` and ``results``: the eligible
        blocks of a dry run, else one dict a block with ``block_start``, ``block_end``, ``exposure``,
        ``filter``, ``status`` (``complete``, ``fail``, ``cancel``, ``timeout``, ``error``) and, where they
        apply, ``frames``, ``output_file``, ``rename_failed``, ``error``. For several telescopes a dict by
        serial number.

    Raises
    ------
    skyrelay.errors.SkyrelayError
        If the telescope cannot be reached, or somebody else drives it.
    """
    settings = settings_in_force(load_settings(), of=())
    block_time = settings.stacking.block_time
    limits = Limits(check_block_minutes(block_minutes), min_exptime, max_wait_sec, block_time)

    def work(telescope: OwnTelescope) -> TargetSummary:
        return stack_target(telescope, target, limits, dry_run=dry_run)

    return on_each(settings, ips, work)


def stack_all(
    block_minutes: int = BLOCK_MINUTES,
    min_exptime: float = 240,
    dry_run: bool = False,
    max_wait_sec: float = 3600,
    *,
    ips: Telescopes = None,
) -> AllSummary | dict[str, AllSummary]:
    """Have the telescope stack what is not stacked of every target that has raw frames.

    A target that fails is recorded (``error`` in its summary), and the next one is gone on with.

    Returns
    -------
    dict
        ``targets_processed``, ``targets_with_work``, ``total_blocks_stacked``, ``total_blocks_failed``,
        ``total_blocks_skipped`` and ``per_target`` (as `stack_blocks` gives them). For several telescopes a
        dict by serial number.
    """
    settings = settings_in_force(load_settings(), of=())
    block_time = settings.stacking.block_time
    limits = Limits(check_block_minutes(block_minutes), min_exptime, max_wait_sec, block_time)

    def work(telescope: OwnTelescope) -> AllSummary:
        return stack_everything(telescope, targets_with_frames(telescope), limits, dry_run=dry_run)

    return on_each(settings, ips, work)


def purge_crowdsky_stacks(
    folder: str | None = None, *, ips: Telescopes = None
) -> PurgeSummary | dict[str, PurgeSummary]:
    """Delete all ``CrowdSky_*`` files from folders on the telescope. They are gone for good.

    Parameters
    ----------
    folder
        One folder (``M 81``); ``"all"`` or `None` for every folder of stacks.

    Returns
    -------
    dict
        ``folders_scanned``, ``files_deleted``, ``deleted`` (``MyWorks/M 81/CrowdSky_….fit``), and ``failed``
        (the same with reasons) where a file would not go. For several telescopes a dict by serial number.

    Raises
    ------
    skyrelay.errors.SkyrelayError
        If a folder cannot be listed (nothing was deleted then), or somebody else drives the telescope.
    """
    folders: Sequence[str] | None = None if folder in {None, "all"} else [str(folder)]

    def work(telescope: OwnTelescope) -> PurgeSummary:
        return purge(telescope, folders)

    return on_each(settings_in_force(load_settings(), of=()), ips, work)
