"""The receipt of a night: what became of every sub-frame that was seen.

Each frame is in exactly one account (in a stack, sent raw, covered, skipped, failed, waiting, held, or
missing), and what is held or missing is named. Built with five queries, however long the night was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, NaiveDatetime, WithJsonSchema
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import OWED_DELIVERIES, BlockState, DeliveryKind, DeliveryState, FrameState
from skyrelay.store.newest import is_newest_of_block
from skyrelay.store.tables import Block, Delivery, Frame, Stack, Telescope

WAITING_BLOCKS = frozenset({BlockState.COLLECTING, BlockState.READY, BlockState.STACKING})
ARRIVED_DELIVERIES = frozenset({DeliveryState.ACCEPTED, DeliveryState.CONFIRMED})
_UNDER_WAY = frozenset({DeliveryState.SENDING, DeliveryState.RETRYING})
_ON_THEIR_WAY = frozenset({BlockState.STACKED, BlockState.RAW})
_NOON = timedelta(hours=12)  # a night lasts from noon to noon
_ONE_DAY = timedelta(days=1)
_TOO_LATE = "came after the stack of its block was made"
_TOO_LATE_TO_SEND = "was not among the raw frames of its block that were sent"
_NOT_PLANNED = "is in no block yet"


# A telescope's wall clock: JSON Schema's "date-time" would promise an offset from UTC.
LocalTime = Annotated[
    NaiveDatetime,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?$",
            "examples": ["2025-03-26T21:15:00"],
        }
    ),
]


class Stage(StrEnum):
    """How far a block is on its way to the last place that it is owed to, in a person's words."""

    COLLECTING = "collecting"
    READY = "ready"
    STACKING = "stacking"
    STACKED = "stacked"
    UPLOADING = "uploading"
    DELIVERED = "delivered"
    SKIPPED = "skipped"
    COVERED = "covered"
    RAW = "raw"  # its raw frames are to be sent
    FAILED = "failed"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReceiptDelivery(_Part):
    """What became of a stack, or of a block's raw frames, at one destination."""

    kind: DeliveryKind
    destination: str
    state: DeliveryState
    reason: str
    needs_you: bool
    chunk_key: str | None  # the server's, which counts for the books


class ReceiptBlock(_Part):
    """One block of the night.

    ``frames`` counts the good ones, ``frames_in_stack`` those that were given to the stack,
    ``frames_sent_raw`` those that go to the server's own stacker. ``chunk_key``
    is the server's where it is known, else ours; ``stack_name`` the CrowdSky name.
    """

    id: int
    start_at: AwareDatetime
    end_at: AwareDatetime
    start_local: LocalTime
    end_local: LocalTime
    utc_offset: str  # such as UTC−4
    frames: int
    frames_in_stack: int
    frames_sent_raw: int
    frames_aligned: int | None
    exposure_total_s: float
    state: BlockState
    stage: Stage
    reason: str
    needs_you: bool
    percent: float | None
    chunk_key: str | None
    stack_name: str | None
    deliveries: tuple[ReceiptDelivery, ...]


class ReceiptGroup(_Part):
    """What one telescope took of one target with one exposure and filter."""

    telescope: str
    target: str
    exposure: str
    filter: str
    frames: int
    exposure_total_s: float
    blocks: tuple[ReceiptBlock, ...]


class NamedFrames(_Part):
    """Frames that share a fate, by name."""

    telescope: str
    target: str
    fate: str
    reason: str
    file_names: tuple[str, ...]


class ReceiptTotals(_Part):
    """The night in figures; the frames' accounts add up to ``frames``."""

    frames: int = 0
    exposure_total_s: float = 0.0
    frames_in_stacks: int = 0
    frames_sent_raw: int = 0
    frames_covered: int = 0
    frames_skipped: int = 0
    frames_failed: int = 0
    frames_waiting: int = 0
    frames_held: int = 0
    frames_missing: int = 0
    blocks: int = 0
    blocks_stacked: int = 0
    blocks_raw: int = 0
    blocks_covered: int = 0
    blocks_skipped: int = 0
    blocks_failed: int = 0
    blocks_waiting: int = 0
    deliveries: int = 0
    delivered: int = 0  # the server said ok; confirmed ones among them
    confirmed: int = 0  # the server lists them
    deliveries_owed: int = 0
    deliveries_dead: int = 0


class Receipt(_Part):
    """What became of a night; ``complete`` when nothing of it waits any more."""

    version: Literal[1] = 1
    night: date
    complete: bool
    totals: ReceiptTotals
    groups: tuple[ReceiptGroup, ...]
    held: tuple[NamedFrames, ...]
    missing: tuple[NamedFrames, ...]

    def blocks_in(self, *states: BlockState) -> Iterator[tuple[ReceiptGroup, ReceiptBlock]]:
        """Give the blocks that are in one of ``states``, each with its group."""
        return ((group, block) for group in self.groups for block in group.blocks if block.state in states)


def build_receipt(session: Session, night: date) -> Receipt:
    """Build the receipt of a night.

    Parameters
    ----------
    session
        A reading session.
    night
        Local date of the evening. A frame's night is its block's; without a block, that of the wall
        clock in its name, less twelve hours.
    """
    records = _read(session, night)
    groups = tuple(_groups(records))
    held = tuple(_named(frame for frame in records.loose if frame.is_held))
    missing = tuple(_named(frame for frame in records.loose if not frame.is_held))
    return Receipt(
        night=night,
        complete=_is_complete(records),
        totals=_totals(groups, held, missing),
        groups=groups,
        held=held,
        missing=missing,
    )


def utc_offset_text(minutes: int) -> str:
    """Write an offset from UTC for people: ``UTC``, ``UTC−4``, ``UTC+5:30``."""
    hours, rest = divmod(abs(minutes), 60)
    sign = "−" if minutes < 0 else "+"
    return "UTC" + (f"{sign}{hours}" if minutes else "") + (f":{rest:02d}" if rest else "")


def duration_text(seconds: float) -> str:
    """Write a duration for people: ``320 s`` is ``5 min 20 s``, hours without seconds."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:g} s"
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" + (f" {whole % 60} s" if whole % 60 else "")


def stage_of(state: BlockState, deliveries: Iterable[DeliveryState]) -> Stage:
    """Tell how far a block is, given the states of the deliveries of its stack, or of its raw frames."""
    states = set(deliveries)
    if state not in _ON_THEIR_WAY or not states:
        return Stage(state.value)
    if DeliveryState.DEAD in states:
        return Stage.FAILED
    if states & _UNDER_WAY:
        return Stage.UPLOADING
    return Stage.DELIVERED if states <= ARRIVED_DELIVERIES else Stage(state.value)


_GroupKey = tuple[str, str, str, str]  # telescope, target, exposure, filter


@dataclass(frozen=True, slots=True)
class _LooseFrame:
    """A frame that is in no stack, and is held or missing."""

    telescope: str
    target: str
    exposure: str
    filter: str
    exposure_s: float
    file_name: str
    state: str
    state_reason: str | None
    block_id: int | None
    saved_local: datetime
    block_state: str | None

    @property
    def is_held(self) -> bool:
        return self.state != FrameState.OK

    @property
    def fate(self) -> tuple[str, str]:
        if self.is_held:
            return self.state, self.state_reason or ""
        if self.block_id is None:
            return "missing", self.state_reason or _NOT_PLANNED
        is_raw = self.block_state == BlockState.RAW
        return "missing", self.state_reason or (_TOO_LATE_TO_SEND if is_raw else _TOO_LATE)


@dataclass(frozen=True, slots=True)
class _Records:
    """What the database says of a night, in as many lists as there are queries."""

    blocks: Sequence[tuple[Block, str, Stack | None]]  # with the telescope's name
    counts: Mapping[int, Mapping[str, tuple[int, float]]]  # block id → account → (frames, exposure in s)
    deliveries: Mapping[int, Sequence[Delivery]]  # by block id, of all of its stacks
    loose: Sequence[_LooseFrame]


def _read(session: Session, night: date) -> _Records:
    name = night.isoformat()
    blocks = session.execute(
        select(Block, Telescope.name, Stack)
        .join(Telescope, Telescope.id == Block.telescope_id)
        .outerjoin(Stack, is_newest_of_block())
        .where(Block.night == name)
        .order_by(Telescope.name, Block.target, Block.exposure, Block.filter, Block.start_at)
    )
    with_names = [(block, telescope, stack) for block, telescope, stack in blocks]
    return _Records(
        with_names, _count(session, name), _deliveries(session, name), _read_loose(session, night)
    )


def _deliveries(session: Session, night: str) -> Mapping[int, Sequence[Delivery]]:
    """Give the deliveries of each block's stacks, or of its raw frames: asked for as one all are read."""
    of_stacks = select(Delivery, Block.id).join(Stack, Stack.id == Delivery.stack_id)
    queries = (
        of_stacks.join(Block, Block.id == Stack.block_id),
        select(Delivery, Block.id).join(Block, Block.id == Delivery.block_id),
    )
    rows = [row for query in queries for row in session.execute(query.where(Block.night == night))]
    deliveries: dict[int, list[Delivery]] = defaultdict(list)
    for delivery, block_id in sorted(rows, key=lambda row: row[0].id):
        deliveries[block_id].append(delivery)
    return deliveries


def _count(session: Session, night: str) -> Mapping[int, Mapping[str, tuple[int, float]]]:
    stacked = Frame.stack_id.is_not(None)
    rows = session.execute(
        select(
            Block.id,
            Block.state,
            Frame.state,
            stacked,
            Frame.is_sent_raw,
            func.count(),
            func.sum(Frame.exposure_s),
        )
        .join(Block, Block.id == Frame.block_id)
        .where(Block.night == night)
        .group_by(Block.id, Block.state, Frame.state, stacked, Frame.is_sent_raw)
    )
    counts: dict[int, dict[str, tuple[int, float]]] = defaultdict(lambda: defaultdict(lambda: (0, 0.0)))
    for block_id, block_state, state, is_stacked, is_sent_raw, number, exposure_s in rows:
        is_raw = bool(is_sent_raw) and block_state == BlockState.RAW
        account = _account(state, is_stacked=bool(is_stacked), is_sent_raw=is_raw)
        frames, total_s = counts[block_id][account]
        counts[block_id][account] = (frames + number, total_s + exposure_s)
    return counts


def _account(state: str, *, is_stacked: bool, is_sent_raw: bool) -> str:
    if is_stacked:
        return "stacked"
    if is_sent_raw:  # whether its telescope still has it or not
        return "raw"
    return "good" if state == FrameState.OK else "held"


def _read_loose(session: Session, night: date) -> Sequence[_LooseFrame]:
    noon = datetime.combine(night, time()) + _NOON
    frames = select(
        Telescope.name,
        Frame.target,
        Frame.exposure,
        Frame.filter,
        Frame.exposure_s,
        Frame.file_name,
        Frame.state,
        Frame.state_reason,
        Frame.block_id,
        Frame.saved_local,
        Block.state,
    )
    frames = frames.join_from(
        Frame, Telescope, Telescope.id == func.coalesce(Frame.telescope_id, 0)
    ).outerjoin(Block, Block.id == Frame.block_id)
    without_block = frames.where(
        Frame.block_id.is_(None), Frame.saved_local >= noon, Frame.saved_local < noon + _ONE_DAY
    )
    of_block = frames.where(
        Block.night == night.isoformat(),
        Frame.stack_id.is_(None),
        or_(Frame.is_sent_raw.is_(False), Block.state != BlockState.RAW),
        or_(Frame.state != FrameState.OK, Block.state.in_(_ON_THEIR_WAY)),
    )
    rows = [*session.execute(without_block), *session.execute(of_block)]
    loose = (_LooseFrame(*row) for row in rows)
    return sorted(loose, key=lambda frame: (frame.telescope, frame.target, frame.saved_local))


def _groups(records: _Records) -> Iterator[ReceiptGroup]:
    blocks: dict[_GroupKey, list[ReceiptBlock]] = defaultdict(list)
    seen: dict[_GroupKey, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for block, telescope, stack in records.blocks:
        key = (telescope, block.target, block.exposure, block.filter)
        blocks[key].append(_receipt_block(block, stack, records))
        for frames, exposure_s in records.counts.get(block.id, {}).values():
            seen[key] = (seen[key][0] + frames, seen[key][1] + exposure_s)
    for frame in records.loose:
        if frame.block_id is None:
            key = (frame.telescope, frame.target, frame.exposure, frame.filter)
            seen[key] = (seen[key][0] + 1, seen[key][1] + frame.exposure_s)
    for key in sorted(seen.keys() | blocks.keys(), key=lambda key: (key[0], _begin(blocks.get(key)), key)):
        telescope, target, exposure, filter_ = key
        yield ReceiptGroup(
            telescope=telescope,
            target=target,
            exposure=exposure,
            filter=filter_,
            frames=seen[key][0],
            exposure_total_s=seen[key][1],
            blocks=tuple(blocks.get(key, ())),
        )


def _begin(blocks: Sequence[ReceiptBlock] | None) -> float:
    return blocks[0].start_at.timestamp() if blocks else float("inf")


def _receipt_block(block: Block, stack: Stack | None, records: _Records) -> ReceiptBlock:
    counts = records.counts.get(block.id, {})
    in_stack, other = counts.get("stacked", (0, 0.0)), counts.get("good", (0, 0.0))
    sent_raw = counts.get("raw", (0, 0.0))
    deliveries = records.deliveries.get(block.id, ())
    start_local = (block.start_at + timedelta(minutes=block.utc_offset_min)).replace(tzinfo=None)
    length = timedelta(minutes=block.minutes)
    state = BlockState(block.state)
    return ReceiptBlock(
        id=block.id,
        start_at=block.start_at,
        end_at=block.start_at + length,
        start_local=start_local,
        end_local=start_local + length,
        utc_offset=utc_offset_text(block.utc_offset_min),
        frames=in_stack[0] + sent_raw[0] + other[0],
        frames_in_stack=in_stack[0],
        frames_sent_raw=sent_raw[0],
        frames_aligned=stack.frames_aligned if stack else None,
        exposure_total_s=in_stack[1] + sent_raw[1] + other[1],
        state=state,
        stage=stage_of(state, (DeliveryState(delivery.state) for delivery in deliveries)),
        reason=block.reason,
        needs_you=block.needs_you or any(delivery.needs_you for delivery in deliveries),
        percent=block.percent,
        chunk_key=_chunk_key(stack, deliveries),
        stack_name=stack.crowdsky_name if stack else None,
        deliveries=tuple(_receipt_delivery(delivery) for delivery in deliveries),
    )


def _chunk_key(stack: Stack | None, deliveries: Iterable[Delivery]) -> str | None:
    of_server = (delivery.server_chunk_key for delivery in deliveries if delivery.server_chunk_key)
    return next(of_server, stack.chunk_key if stack else None)


def _receipt_delivery(delivery: Delivery) -> ReceiptDelivery:
    return ReceiptDelivery(
        kind=DeliveryKind(delivery.kind),
        destination=delivery.destination,
        state=DeliveryState(delivery.state),
        reason=delivery.reason,
        needs_you=delivery.needs_you,
        chunk_key=delivery.server_chunk_key,
    )


def _named(loose: Iterable[_LooseFrame]) -> Iterator[NamedFrames]:
    names: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for frame in loose:
        names[(frame.telescope, frame.target, *frame.fate)].append(frame.file_name)
    for (telescope, target, fate, reason), file_names in names.items():
        yield NamedFrames(
            telescope=telescope, target=target, fate=fate, reason=reason, file_names=tuple(file_names)
        )


def _is_complete(records: _Records) -> bool:
    blocks = [block for block, _telescope, _stack in records.blocks]
    deliveries = [delivery for some in records.deliveries.values() for delivery in some]
    return not (
        any(block.state in WAITING_BLOCKS for block in blocks)
        or any(block.state == BlockState.FAILED and not block.needs_you for block in blocks)
        or any(delivery.state in OWED_DELIVERIES for delivery in deliveries)
        or any(frame.block_id is None and not frame.is_held for frame in records.loose)
    )


def _totals(
    groups: Sequence[ReceiptGroup],
    held: Sequence[NamedFrames],
    missing: Sequence[NamedFrames],
) -> ReceiptTotals:
    blocks = [block for group in groups for block in group.blocks]
    deliveries = [delivery.state for block in blocks for delivery in block.deliveries]
    return ReceiptTotals(
        frames=sum(group.frames for group in groups),
        exposure_total_s=sum(group.exposure_total_s for group in groups),
        frames_in_stacks=sum(block.frames_in_stack for block in blocks),
        frames_sent_raw=sum(block.frames_sent_raw for block in blocks),
        frames_covered=_frames_in(blocks, {BlockState.COVERED}),
        frames_skipped=_frames_in(blocks, {BlockState.SKIPPED}),
        frames_failed=_frames_in(blocks, {BlockState.FAILED}),
        frames_waiting=_frames_in(blocks, WAITING_BLOCKS),
        frames_held=sum(len(frames.file_names) for frames in held),
        frames_missing=sum(len(frames.file_names) for frames in missing),
        blocks=len(blocks),
        blocks_stacked=_blocks_in(blocks, {BlockState.STACKED}),
        blocks_raw=_blocks_in(blocks, {BlockState.RAW}),
        blocks_covered=_blocks_in(blocks, {BlockState.COVERED}),
        blocks_skipped=_blocks_in(blocks, {BlockState.SKIPPED}),
        blocks_failed=_blocks_in(blocks, {BlockState.FAILED}),
        blocks_waiting=_blocks_in(blocks, WAITING_BLOCKS),
        deliveries=len(deliveries),
        delivered=sum(state in ARRIVED_DELIVERIES for state in deliveries),
        confirmed=deliveries.count(DeliveryState.CONFIRMED),
        deliveries_owed=sum(state in OWED_DELIVERIES for state in deliveries),
        deliveries_dead=deliveries.count(DeliveryState.DEAD),
    )


def _frames_in(blocks: Iterable[ReceiptBlock], states: Iterable[BlockState]) -> int:
    """Count the good frames of blocks in those states that are in no stack."""
    return sum(block.frames - block.frames_in_stack for block in blocks if block.state in states)


def _blocks_in(blocks: Iterable[ReceiptBlock], states: Iterable[BlockState]) -> int:
    return sum(block.state in states for block in blocks)
