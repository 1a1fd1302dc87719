"""What lies on a telescope, and which blocks of it have no stack yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal, cast
from zoneinfo import ZoneInfo

from skyrelay.direct.books import BookedStack
from skyrelay.direct.summaries import BlockDict, TargetDict
from skyrelay.direct.telescopes import OwnTelescope
from skyrelay.domain.block import BlockKey, block_start
from skyrelay.domain.coverage import covers
from skyrelay.domain.frame_facts import FrameFacts, KnownOffset, Sighting
from skyrelay.domain.light_frame import SUB_FOLDER_SUFFIX, LightFrameName
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName, parse_stack_name
from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.errors import ConfigurationError
from skyrelay.logs import get_logger
from skyrelay.seestar.learning import FrameReader, ListedFrame, learn_frames
from skyrelay.seestar.listing import FileListing
from skyrelay.service import utc_now

BlockTime = Literal["start", "name"]
_FITS = (".fit", ".fits")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """A block that has no stack yet.

    Attributes
    ----------
    key
        The block.
    folder
        Where its frames lie, e.g. ``M 81_sub``.
    offset
        The telescope's local time minus UTC in it.
    files
        The frames' names, sorted.
    exposure_s
        Exposure time of one frame in seconds.
    first_start, last_start
        Aware UTC starts of the first and the last frame's exposure.
    """

    key: BlockKey
    folder: str
    offset: timedelta
    files: tuple[str, ...]
    exposure_s: float
    first_start: datetime
    last_start: datetime

    @property
    def total_s(self) -> float:
        """Total exposure in seconds."""
        return len(self.files) * self.exposure_s

    def as_dict(self) -> BlockDict:
        """Give it as scripts know it; the times are aware, in the telescope's own UTC offset."""
        zone = timezone(self.offset)
        return {
            "block_start": self.key.start.astimezone(zone),
            "block_end": self.key.end.astimezone(zone),
            "exposure": self.key.exposure,
            "filter": self.key.filter,
            "files": list(self.files),
            "frame_count": len(self.files),
        }


def list_target_folders(telescope: OwnTelescope) -> list[TargetDict]:
    """List the targets that have both of their folders; see `skyrelay.crowdsky.chunks.list_targets`."""
    folders = set(telescope.folders())
    pairs = [target for target in targets_with_frames(telescope) if target in folders]
    return [
        {
            "target": target,
            "raw_files": sum(
                1 for name in telescope.list_folder(target + SUB_FOLDER_SUFFIX).names if _is_frame(name)
            ),
            "stacked_files": sum(
                1 for name in telescope.list_folder(target).names if name.casefold().endswith(_FITS)
            ),
        }
        for target in pairs
    ]


def targets_with_frames(telescope: OwnTelescope) -> list[str]:
    """Name the targets that have a folder of raw frames, whether or not anything was stacked of them."""
    folders = telescope.folders()
    return sorted(
        name.removesuffix(SUB_FOLDER_SUFFIX) for name in folders if name.endswith(SUB_FOLDER_SUFFIX)
    )


def plan_blocks(
    telescope: OwnTelescope, target: str, block_minutes: int, block_time: str = "start"
) -> list[BlockPlan]:
    """Give the blocks of a target that have ended and have no stack, oldest first.

    Raises
    ------
    FileMissing
        If the telescope has no raw frames of that target.
    ListingFailed, Unreachable, KeyMissing, KeyRefused, TelescopeTaken, TransientError
        If it cannot be listed: that is never "nothing to do".
    """
    if block_time not in {"start", "name"}:
        raise ConfigurationError(f"block_time {block_time!r} is unknown: say 'start' or 'name'")
    begun = utc_now()
    listing = telescope.list_folder(target + SUB_FOLDER_SUFFIX)
    stacked = telescope.stacks_in(target)
    books = telescope.books
    booked, held = (books.stacks_of(target), books.held_in(listing.folder)) if books else ([], frozenset())
    facts = _usable(learn_frames(_light_frames(listing), _reader(telescope), block_minutes), target, held)
    plans = group_facts(facts, listing.folder, block_minutes, cast("BlockTime", block_time))
    grace = timedelta(seconds=telescope.settings.stacking.grace_s)
    return [plan for plan in plans if plan.key.end + grace <= begun and not is_covered(plan, stacked, booked)]


def group_facts(
    facts: Iterable[FrameFacts], folder: str, block_minutes: int, block_time: BlockTime
) -> list[BlockPlan]:
    """Group frames into blocks, oldest first; each whose start and offset are known lands in exactly one."""
    blocks: dict[BlockKey, list[FrameFacts]] = defaultdict(list)
    for fact in facts:
        key = _key(fact, block_minutes, block_time)
        if key is not None:
            blocks[key].append(fact)
    return [_plan(key, folder, frames) for key, frames in sorted(blocks.items())]


def _key(fact: FrameFacts, block_minutes: int, block_time: BlockTime) -> BlockKey | None:
    if fact.start_at is None or fact.offset is None:
        return None
    saved = (fact.name.saved_local - fact.offset).replace(tzinfo=UTC)
    moment = fact.start_at if block_time == "start" else saved
    start = block_start(moment, fact.offset, block_minutes)
    return BlockKey(start, fact.name.target, fact.name.exposure, fact.name.filter, block_minutes)


def is_covered(plan: BlockPlan, stacked: frozenset[str], booked: Iterable[BookedStack]) -> bool:
    """Tell whether a stack of the block lies on the telescope.

    What is booked is known for certain, whatever its length and name; the other names speak for
    themselves.
    """
    there = [stack for stack in booked if stack.lies_in(stacked)]
    if any(stack.key == plan.key for stack in there):
        return True
    ours = {stack.crowdsky_name for stack in there}
    names = (parse_stack_name(name) for name in stacked - ours)
    return any(
        covers(name, plan.key, plan.offset)
        for name in names
        if isinstance(name, CrowdSkyName | CrowdSkyLegacyName)
    )


def _plan(key: BlockKey, folder: str, frames: list[FrameFacts]) -> BlockPlan:
    offset = frames[0].offset or timedelta(0)
    starts = [fact.start_at for fact in frames if fact.start_at is not None]
    files = tuple(sorted(fact.file_name for fact in frames))
    return BlockPlan(key, folder, offset, files, frames[0].name.exposure_s, min(starts), max(starts))


def _usable(facts: Iterable[FrameFacts], target: str, held: frozenset[str]) -> list[FrameFacts]:
    """Leave out, and say so, what cannot be read, was taken with a wrong clock, or is held for a person."""
    good = []
    for fact in facts:
        state = FrameState.CLOCK_WRONG if fact.file_name in held else fact.state
        if state is FrameState.OK:
            good.append(fact)
        else:
            _log.warning(
                "a frame is left out", target=target, file=fact.file_name, state=state, reason=fact.reason
            )
    return good


def _light_frames(listing: FileListing) -> list[ListedFrame]:
    found = []
    for file in listing.files:
        name = LightFrameName.parse(file.name)
        if name is not None:
            sighting = Sighting(listing.folder, file.name, file.size_bytes or 0, "inventory")
            found.append(ListedFrame(sighting, name))
    return found


def _reader(telescope: OwnTelescope) -> FrameReader:
    def fallback(saved_local: datetime) -> KnownOffset:
        zone = _zone(telescope)
        if zone is not None:
            offset = saved_local.replace(tzinfo=zone).utcoffset() or timedelta(0)
            return KnownOffset(offset, OffsetSource.TELESCOPE_ZONE)
        _log.warning("no zone is known for the telescope; this server's is taken", telescope=telescope.name)
        return KnownOffset(saved_local.astimezone().utcoffset() or timedelta(0), OffsetSource.SERVER_ZONE)

    return FrameReader(telescope.seestar, fallback, utc_now)


def _zone(telescope: OwnTelescope) -> ZoneInfo | None:
    """Give the telescope's zone as configured, else the observatory's, else what the telescope says."""
    if telescope.configured.timezone != "auto":
        return ZoneInfo(telescope.configured.timezone)
    if telescope.settings.site_zone is not None:
        return telescope.settings.site_zone
    return ZoneInfo(telescope.device.zone) if telescope.device.zone else None


def _is_frame(file_name: str) -> bool:
    return LightFrameName.parse(file_name) is not None
