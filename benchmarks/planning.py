"""What planning costs with a million frames in the books, beside a thousand: SQLite on this machine's disk.

Two figures: recording 100 new frames in their blocks, and one tick of the scheduler with 50 telescopes that
all have ready blocks (as the stacker's reconciler looks: without the broker).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from common import Goal, Report, options_of, repeats_of
from sqlalchemy import insert

from skyrelay.domain.frame_facts import FrameFacts, KnownOffset, Sighting, facts_from_name
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.states import BlockState, FrameState, TelescopeState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.queue.tasks import TaskName
from skyrelay.settings import ObservatorySettings, Settings, StackingSettings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Block, Frame, Telescope
from skyrelay_stacker.reconciling import due_everywhere
from skyrelay_stacker.recording import record_frames

TELESCOPES = 50
FRAMES = (1_000, 1_000_000)
_QUICK_FRAMES = (1_000, 20_000)
ROUNDS = 20
_BLOCK_FRAMES = 40
_READY_EACH = 20
_FIRST = datetime(2020, 1, 1, 20, 0)  # noqa: DTZ001 - a telescope's wall clock
_QUARTER = timedelta(minutes=15)
_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_TARGETS = ("M 81", "M 31", "M 42", "NGC 7000")


def main() -> None:
    """Measure and print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    options = options_of(__doc__)
    report, rounds = Report("planning", options), repeats_of(options, ROUNDS, quick=2)
    sizes = _QUICK_FRAMES if options.quick else FRAMES
    few, many = (measure(frames, rounds) for frames in sizes)
    works = ("recording 100 new frames", "a tick (idle), 50 telescopes", "a tick (dawn), 50 telescopes")
    for what, small, large, most_ms in zip(works, few, many, (50, 100, 100), strict=True):
        named = f"{what}: {sizes[1]:,} frames in the books beside {sizes[0]:,}, processor time"
        report.add(named, large, small, unit="ms", goal=Goal(most=most_ms, of="ours"))
    report.close()


def measure(frames: int, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Give the milliseconds that recording 100 frames takes, and a tick with each way of saying when."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'skyrelay.db'}")
        migrate(store)
        fill(store, frames)
        site = ObservatorySettings(latitude=48.2, longitude=16.4, timezone="Europe/Vienna")
        idle = Settings(stacking=StackingSettings(idle_s=0))
        dawn = Settings(stacking=StackingSettings(idle_s=0, when="dawn"), observatory=site)
        figures = (
            repeated(rounds, lambda number: record(store, number)),
            repeated(rounds, lambda _number: tick(store, idle)),
            repeated(rounds, lambda _number: tick(store, dawn)),
        )
        store.close()
    return figures


def repeated(rounds: int, once: Callable[[int], None]) -> list[float]:
    """Give the processor time of some rounds, in ms: a busy machine takes longer by the clock."""
    took_ms = []
    for number in range(rounds):
        began = time.process_time()
        once(number)
        took_ms.append(1000 * (time.process_time() - began))
    return took_ms


def record(store: Store, number: int) -> None:
    """Record 100 frames that nobody has seen, and commit."""
    with store.write() as session:
        news = [fact(_FIRST + timedelta(days=3650 + number, seconds=21 * index)) for index in range(100)]
        if record_frames(session, 1 + number % TELESCOPES, news, StackingSettings(), _NOW) != len(news):
            raise SystemExit("not all of them were news")


def tick(store: Store, settings: Settings) -> None:
    """Look for what is due on each telescope."""
    with store.write() as session:
        due = due_everywhere(session, settings, _NOW)
    if len(due) != TELESCOPES or {task for task, _message, _words in due} != {TaskName.STACK_BLOCK}:
        raise SystemExit("not every telescope has a block to stack")


def fact(saved_local: datetime) -> FrameFacts:
    """Give the facts of a frame as a listing tells them."""
    name = LightFrameName("M 81", "20.0s", "LP", saved_local)
    sighting = Sighting("M 81_sub", name.build(), 4_152_960, "inventory")
    return facts_from_name(sighting, name, KnownOffset(timedelta(0), OffsetSource.HEADER))


def fill(store: Store, frames: int) -> None:
    """Lay down telescopes, blocks (the last of each telescope ready) and frames, some of each target."""
    blocks_each = max(frames // TELESCOPES // _BLOCK_FRAMES, _READY_EACH)
    with store.write() as session:
        session.execute(insert(Telescope), [telescope(number) for number in range(1, TELESCOPES + 1)])
        for some in portions(blocks(blocks_each), 5_000):
            session.execute(insert(Block), some)
        for some in portions(rows(blocks_each, frames), 20_000):
            session.execute(insert(Frame), some)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def portions(all_: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Give the rows in portions of a size that one statement can take."""
    while portion := list(islice(all_, size)):
        yield portion


def telescope(number: int) -> dict[str, Any]:
    """Give the row of an idle telescope."""
    return {
        "id": number,
        "name": f"telescope {number}",
        "serial": f"sn{number}",
        "host": "192.0.2.7",
        "rpc_port": 4700,
        "http_port": 80,
        "smb_port": 445,
        "smb_share": "auto",
        "timezone": "auto",
        "state": TelescopeState.READY,
        "state_reason": "",
        "idle_since": _NOW - timedelta(hours=1),
        "created_at": _NOW,
    }


def blocks(each: int) -> Iterator[dict[str, Any]]:
    """Give the rows of each telescope's blocks."""
    for owner in range(1, TELESCOPES + 1):
        for number in range(each):
            start = start_of(number)
            is_ready = number >= each - _READY_EACH
            yield {
                "id": (owner - 1) * each + number + 1,
                "telescope_id": owner,
                "target": _TARGETS[number % len(_TARGETS)],
                "folder": f"{_TARGETS[number % len(_TARGETS)]}_sub",
                "exposure": "20.0s",
                "exposure_s": 20.0,
                "filter": "LP",
                "start_at": start,
                "minutes": 15,
                "utc_offset_min": 0,
                "night": start.date().isoformat(),
                "frame_count": _BLOCK_FRAMES,
                "state": BlockState.READY if is_ready else BlockState.STACKED,
                "started_at": None if is_ready else start + timedelta(hours=9),
                "created_at": start,
                "updated_at": start,
            }


def rows(blocks_each: int, frames: int) -> Iterator[dict[str, Any]]:
    """Give the rows of frames, spread over all blocks."""
    per_block = max(frames // (TELESCOPES * blocks_each), 1)
    for owner in range(1, TELESCOPES + 1):
        for number in range(blocks_each):
            for index in range(per_block):
                yield frame(owner, number, index, (owner - 1) * blocks_each + number + 1)


def frame(owner: int, number: int, index: int, block_id: int) -> dict[str, Any]:
    """Give the row of one frame."""
    start = start_of(number) + timedelta(seconds=21 * index)
    target = _TARGETS[number % len(_TARGETS)]
    saved_local = start.replace(tzinfo=None) + timedelta(seconds=23)
    return {
        "telescope_id": owner,
        "folder": f"{target}_sub",
        "file_name": f"Light_{target}_20.0s_LP_{saved_local:%Y%m%d-%H%M%S}.fit",
        "target": target,
        "exposure": "20.0s",
        "exposure_s": 20.0,
        "filter": "LP",
        "saved_local": saved_local,
        "start_at": start,
        "utc_offset_min": 0,
        "offset_source": OffsetSource.HEADER,
        "size_bytes": 4_152_960,
        "state": FrameState.OK,
        "seen_by": "inventory",
        "seen_at": start,
        "inventoried_at": start,
        "block_id": block_id,
    }


def start_of(number: int) -> datetime:
    """Give the start of a block: 30 a night."""
    night, quarter = divmod(number, 30)
    return (_FIRST + timedelta(days=night) + quarter * _QUARTER).replace(tzinfo=UTC)


if __name__ == "__main__":
    main()
