"""Where the blocks of a night lie on its line of time, in percent of the width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from skyrelay.store.receipts import Receipt, ReceiptBlock, ReceiptGroup, Stage
from skyrelay_gateway.texts import text

_HOUR = timedelta(hours=1)
_MOST_TICKS = 6  # more would run into each other on a telephone
_LEAST_GAP = 10.0  # percent of the width that a label takes there


@dataclass(frozen=True, slots=True)
class Tick:
    """A moment: ``label`` is the wall clock of the telescope that began first, ``x`` in percent."""

    x: float
    label: str


# How high a block stands on its line, of ten: the farther it has got, the fuller; told without colour.
_HEIGHTS = {
    Stage.COLLECTING: 3,
    Stage.READY: 4,
    Stage.STACKING: 6,
    Stage.STACKED: 8,
    Stage.RAW: 8,
    Stage.UPLOADING: 9,
    Stage.DELIVERED: 10,
    Stage.COVERED: 10,
    Stage.SKIPPED: 1,
    Stage.FAILED: 10,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One block; ``x`` and ``width`` in percent, ``height`` of ten."""

    block: ReceiptBlock
    x: float
    width: float
    height: int


@dataclass(frozen=True, slots=True)
class Row:
    """The blocks of one telescope, target, exposure and filter."""

    group: ReceiptGroup
    cells: tuple[Cell, ...]
    counts: tuple[tuple[Stage, int], ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A night's line of time; ``now`` in percent, `None` when the night does not go on."""

    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]
    now: float | None = None


def build_timeline(receipt: Receipt, now: datetime) -> Timeline:
    """Lay the blocks of a night out, seen at the aware moment ``now``."""
    blocks = [block for group in receipt.groups for block in group.blocks]
    if not blocks:
        return Timeline((), tuple(Row(group, (), ()) for group in receipt.groups))
    first = min(blocks, key=lambda block: block.start_at)
    begin, end = first.start_at, max(block.end_at for block in blocks)
    offset = first.start_local - first.start_at.replace(tzinfo=None)
    rows = tuple(_row(group, begin, end) for group in receipt.groups)
    present = _percent(now - begin, end - begin)
    return Timeline(tuple(_ticks(begin, end, offset)), rows, present if 0 <= present <= 100 else None)


def title_of(night: date, now_local: datetime) -> str:
    """Say which night it is, seen from the telescope's wall clock."""
    yesterday = now_local.date() - timedelta(days=1)
    if night == now_local.date() or (night == yesterday and now_local.hour < 7):
        return text("tonight.title")
    return (
        text("tonight.last_night") if night == yesterday else text("tonight.night_of", date=f"{night:%-d %B}")
    )


def _ticks(begin: datetime, end: datetime, offset: timedelta) -> Iterator[Tick]:
    """Mark the beginning and the full hours of the wall clock, apart enough to be read."""
    begin_local = begin + offset
    yield Tick(0.0, f"{begin_local:%H:%M}")
    every = max(_HOUR, -(-(end - begin) // _MOST_TICKS // _HOUR) * _HOUR)
    full_hour = begin_local.replace(minute=0, second=0, microsecond=0)
    while (full_hour := full_hour + every) < end + offset:
        x = _percent(full_hour - begin_local, end - begin)
        if _LEAST_GAP <= x <= 100 - _LEAST_GAP:
            yield Tick(x, f"{full_hour:%H:%M}")


def _row(group: ReceiptGroup, begin: datetime, end: datetime) -> Row:
    cells = tuple(
        Cell(
            block,
            _percent(block.start_at - begin, end - begin),
            _percent(block.end_at - block.start_at, end - begin),
            _HEIGHTS[block.stage],
        )
        for block in group.blocks
    )
    stages = [block.stage for block in group.blocks]
    counts = tuple((stage, stages.count(stage)) for stage in Stage if stage in stages)
    return Row(group, cells, counts)


def _percent(part: timedelta, whole: timedelta) -> float:
    return round(100 * part / whole, 3)
