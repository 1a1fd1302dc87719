"""Frames recorded once, whichever way and however often they are seen, and their blocks kept in step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.frame_facts import (
    FrameFacts,
    KnownOffset,
    Sighting,
    facts_from_name,
    facts_of_unreadable,
)
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.states import BlockState, FrameState
from skyrelay.domain.utc_offset import SAVE_LAG, OffsetSource
from skyrelay.settings import StackingSettings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Block, Frame, Stack
from skyrelay.store.telescopes import telescope_of_serial
from skyrelay.store.transitions import move_block
from skyrelay_stacker.recording import link_frames_to_stack, mark_presence, record_frames

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BLOCK_START = datetime(2026, 2, 28, 3, tzinfo=UTC)
NEW_YORK = timedelta(hours=-5)
FOLDER = "M 81_sub"
QUARTERS = StackingSettings()


def named(started: datetime) -> LightFrameName:
    """Name the frame of 10 s that began at an aware time."""
    saved = started + timedelta(seconds=10) + SAVE_LAG + NEW_YORK
    return LightFrameName("M 81", "10.0s", "IRCUT", saved.replace(tzinfo=None, microsecond=0))


def sighting(name: LightFrameName, size_bytes: int = 4_152_960) -> Sighting:
    """Say where it was seen."""
    return Sighting(FOLDER, name.build(), size_bytes, "watcher")


def by_name(started: datetime, offset: timedelta = NEW_YORK) -> FrameFacts:
    """Know a frame by its name."""
    name = named(started)
    return facts_from_name(sighting(name), name, KnownOffset(offset, OffsetSource.NEIGHBOUR))


def by_header(started: datetime) -> FrameFacts:
    """Know a frame by its header."""
    estimated = by_name(started)
    return replace(
        estimated, start_at=started, start_source="header", offset_source=OffsetSource.HEADER, ra_deg=148.9
    )


def half_of(started: datetime) -> FrameFacts:
    """Know that a frame is there and not whole."""
    name = named(started)
    return facts_of_unreadable(sighting(name, 1000), name, "it ends early")


def held(started: datetime) -> FrameFacts:
    """Know a frame whose clock is wrong."""
    return replace(
        by_name(started), state=FrameState.CLOCK_WRONG, reason="in the future", start_source=None, offset=None
    )


@dataclass
class Books:
    """The frames and blocks of one telescope, in an open transaction."""

    session: Session
    telescope_id: int
    stacking: StackingSettings = QUARTERS

    def record(self, *facts: FrameFacts) -> int:
        """Record facts."""
        return record_frames(self.session, self.telescope_id, facts, self.stacking, NOW)

    def inventory(self, *facts: FrameFacts, at: datetime = NOW, folders: set[str] | None = None) -> None:
        """Say that exactly these frames lie on the telescope."""
        found = {(fact.folder, fact.file_name) for fact in facts}
        mark_presence(self.session, self.telescope_id, found, at, NOW, folders=folders)

    @property
    def blocks(self) -> list[Block]:
        """All blocks, oldest first."""
        mine = select(Block).where(Block.telescope_id == self.telescope_id)
        return list(self.session.scalars(mine.order_by(Block.start_at)))

    @property
    def block(self) -> Block:
        """The only block."""
        (block,) = self.blocks
        return block

    @property
    def frames(self) -> list[Frame]:
        """All frames, in the order of their names."""
        mine = select(Frame).where(Frame.telescope_id == self.telescope_id)
        return list(self.session.scalars(mine.order_by(Frame.file_name)))

    def contents(self) -> list[tuple[datetime, int, str]]:
        """Give each block's start, count and state."""
        return [(block.start_at, block.frame_count, block.state) for block in self.blocks]

    def move(self, *states: BlockState) -> Block:
        """Take the only block through some states."""
        for state in states:
            move_block(self.session, self.block, state, now=NOW, actor="test")
        return self.block

    def stack(self, *facts: FrameFacts) -> Stack:
        """Book a stack of some frames of the only block."""
        block = self.move(BlockState.READY, BlockState.STACKING)
        stack = Stack(
            block_id=block.id,
            telescope_id=self.telescope_id,
            folder="M 81",
            original_name="DSO_Stacked_1_M 81_10.0s_20260228_060000.fit",
            crowdsky_name="CrowdSky_1_M 81_10.0s_IRCUT_20260228.12_HP006478.fit",
            chunk_key="20260228.12_HP006478",
            frames_input=len(facts),
            frames_aligned=len(facts),
            exposure_total_s=10.0 * len(facts),
            first_start_at=BLOCK_START,
            last_end_at=BLOCK_START,
            created_at=NOW,
        )
        self.session.add(stack)
        self.session.flush()
        link_frames_to_stack(self.session, block, [fact.file_name for fact in facts], stack.id, NOW)
        self.move(BlockState.STACKED)
        self.session.expire_all()
        return stack


_serials = iter(f"{number:08x}" for number in range(1_000_000))


@contextmanager
def open_books(store: Store) -> Iterator[Books]:
    """Open the books of a telescope that nobody else has."""
    with store.write() as session:
        yield Books(session, telescope_of_serial(session, next(_serials), NOW).id)


@pytest.fixture
def books(store: Store) -> Iterator[Books]:
    """Give the books of a new telescope."""
    with open_books(store) as books:
        yield books


def at(seconds: float) -> datetime:
    """Give a time in the block."""
    return BLOCK_START + timedelta(seconds=seconds)


# -- once ------------------------------------------------------------------------------------------


def test_a_frame_seen_twice_is_recorded_once(books: Books) -> None:
    assert books.record(by_header(at(10))) == 1
    before = books.block.updated_at
    assert books.record(by_header(at(10)), by_header(at(10))) == 0
    assert books.contents() == [(BLOCK_START, 1, "collecting")]
    assert books.block.updated_at == before


def test_half_a_frame_is_in_no_block_and_counts_once_it_is_whole(books: Books) -> None:
    assert books.record(half_of(at(10))) == 1
    assert (books.contents(), books.frames[0].state) == ([], FrameState.UNREADABLE)
    assert books.record(half_of(at(10))) == 0
    assert books.record(by_header(at(10))) == 1
    assert books.contents() == [(BLOCK_START, 1, "collecting")]
    assert (books.frames[0].state, books.frames[0].state_reason) == (FrameState.OK, None)
    assert books.frames[0].size_bytes == 4_152_960


def test_half_a_frame_that_grew_is_known_to_have_grown(books: Books) -> None:
    books.record(half_of(at(10)))
    assert books.record(replace(half_of(at(10)), size_bytes=2000)) == 1
    assert books.frames[0].size_bytes == 2000
    assert books.record(replace(half_of(at(10)), size_bytes=0)) == 0, "a listing without sizes says nothing"


def test_whole_and_half_in_one_batch_leave_the_whole_frame(books: Books) -> None:
    books.record(by_header(at(10)), half_of(at(10)), by_name(at(10)))
    assert books.contents() == [(BLOCK_START, 1, "collecting")]
    assert (books.frames[0].start_source, books.frames[0].ra_deg) == ("header", 148.9)


def test_a_header_moves_a_frame_whose_estimate_lay_in_the_wrong_block(books: Books) -> None:
    books.record(by_name(at(10), timedelta(hours=-4)), by_name(at(30)))
    assert [start for start, *_ in books.contents()] == [BLOCK_START - timedelta(hours=1), BLOCK_START]
    books.record(by_header(at(10)))
    assert books.contents() == [(BLOCK_START, 2, "collecting")]


def test_a_block_that_lost_all_its_frames_to_another_goes_and_that_is_written_down(books: Books) -> None:
    books.record(by_name(at(10), timedelta(hours=-4)))
    ghost = books.block.id
    books.record(by_header(at(10)))
    assert ghost not in {block.id for block in books.blocks}
    removed = select(AuditEntry).where(AuditEntry.subject_id == ghost, AuditEntry.event == "removed")
    assert "belong to other blocks" in books.session.scalars(removed).one().reason


def test_a_frame_held_for_its_clock_is_in_no_block_until_it_is_right(books: Books) -> None:
    books.record(by_name(at(10)))
    books.record(held(at(10)))
    assert (books.contents(), books.frames[0].state) == ([], FrameState.CLOCK_WRONG)
    books.record(by_name(at(10)))
    assert books.frames[0].state == FrameState.CLOCK_WRONG, "a name alone releases nothing"
    books.record(by_header(at(10)))
    assert books.contents() == [(BLOCK_START, 1, "collecting")]


def test_frames_of_different_kinds_are_in_different_blocks(books: Books) -> None:
    usual = by_header(at(10))
    other_filter = replace(usual, name=replace(usual.name, filter="LP"), file_name="Light_other_filter.fit")
    longer = replace(usual, name=replace(usual.name, exposure="20.0s"), file_name="Light_longer.fit")
    books.record(usual, other_filter, longer)
    assert sorted((block.exposure, block.filter) for block in books.blocks) == [
        ("10.0s", "IRCUT"),
        ("10.0s", "LP"),
        ("20.0s", "IRCUT"),
    ]


@pytest.mark.parametrize(
    ("minutes", "block_time", "starts"),
    [
        (15, "start", [0, 0, 15]),
        (5, "start", [0, 10, 15]),
        (60, "start", [0, 0, 0]),
        (15, "name", [0, 15, 15]),
    ],
)
def test_a_frame_belongs_where_its_exposure_began_or_its_name_says_if_so_wanted(
    books: Books, minutes: int, block_time: str, starts: list[int]
) -> None:
    books.stacking = StackingSettings.model_validate({"block_minutes": minutes, "block_time": block_time})
    for seconds, start in zip([10, 14 * 60 + 55, 15 * 60], starts, strict=True):
        books.record(by_header(at(seconds)))
        frame = next(frame for frame in books.frames if frame.start_at == at(seconds))
        block = next(block for block in books.blocks if block.id == frame.block_id)
        assert block.start_at == BLOCK_START + timedelta(minutes=start)
        assert block.minutes == minutes


def test_a_block_lies_in_its_telescopes_night_and_offset(books: Books) -> None:
    books.record(by_header(at(10)))
    assert (books.block.night, books.block.utc_offset_min) == ("2026-02-27", -300)


def test_more_frames_than_one_statement_can_name_are_recorded_in_one_go(books: Books) -> None:
    facts = [by_header(at(10 + number * 14)) for number in range(1500)]
    assert books.record(*facts) == 1500
    assert books.record(*facts) == 0
    assert sum(block.frame_count for block in books.blocks) == 1500


# -- late ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        (BlockState.READY,),
        (BlockState.SKIPPED,),
        (BlockState.READY, BlockState.STACKING, BlockState.FAILED),
    ],
)
def test_a_late_frame_reopens_a_block_that_is_not_stacked(books: Books, way: tuple[BlockState, ...]) -> None:
    books.record(by_header(at(10)))
    books.move(*way)
    books.record(by_header(at(30)))
    assert books.contents() == [(BLOCK_START, 2, "collecting")]
    assert books.block.reason == "its frames changed"


def test_a_frame_seen_again_reopens_nothing(books: Books) -> None:
    books.record(by_header(at(10)))
    books.move(BlockState.READY)
    books.record(by_header(at(10)), by_name(at(10)), half_of(at(10)))
    assert books.block.state == BlockState.READY


def test_a_late_frame_of_a_stacked_block_is_shown_and_changes_nothing_else(books: Books) -> None:
    first, late = by_header(at(10)), by_header(at(30))
    books.record(first)
    stack = books.stack(first)
    books.record(late)
    assert books.contents() == [(BLOCK_START, 2, "stacked")]
    assert [frame.stack_id for frame in books.frames] == [stack.id, None]


def test_a_late_frame_waits_while_its_block_is_being_stacked(books: Books) -> None:
    books.record(by_header(at(10)))
    books.move(BlockState.READY, BlockState.STACKING)
    books.record(by_header(at(30)))
    assert books.contents() == [(BLOCK_START, 2, "stacking")]


def test_what_a_stack_was_made_of_stays_as_it_was(books: Books) -> None:
    first = by_name(at(10))
    books.record(first)
    books.stack(first)
    assert books.record(by_header(at(10)), held(at(10))) == 0
    books.inventory()
    assert (books.frames[0].start_source, books.frames[0].state) == ("name", FrameState.OK)


def test_a_frame_that_moved_away_while_it_was_being_stacked_belongs_to_its_stack(books: Books) -> None:
    first, moving = by_name(at(10)), by_name(at(30), NEW_YORK)
    books.record(first, moving)
    block = books.block
    move_block(books.session, block, BlockState.READY, now=NOW, actor="test")
    move_block(books.session, block, BlockState.STACKING, now=NOW, actor="test")
    books.record(replace(by_header(at(30)), start_at=at(30) - timedelta(hours=1)))
    assert len(books.blocks) == 2
    stack = _stack_row(books, block)
    link_frames_to_stack(books.session, block, [first.file_name, moving.file_name], stack.id, NOW)
    books.session.expire_all()
    assert {(frame.block_id, frame.stack_id) for frame in books.frames} == {(block.id, stack.id)}
    assert [kept.id for kept in books.blocks] == [block.id]


def _stack_row(books: Books, block: Block) -> Stack:
    stack = Stack(
        block_id=block.id,
        telescope_id=books.telescope_id,
        folder="M 81",
        original_name="DSO_Stacked_2_M 81_10.0s_20260228_060000.fit",
        crowdsky_name="CrowdSky_2_M 81_10.0s_IRCUT_20260228.12_HP006478.fit",
        chunk_key="20260228.12_HP006478",
        frames_input=2,
        frames_aligned=2,
        exposure_total_s=20.0,
        first_start_at=BLOCK_START,
        last_end_at=BLOCK_START,
        created_at=NOW,
    )
    books.session.add(stack)
    books.session.flush()
    return stack


# -- there or not ----------------------------------------------------------------------------------


def test_a_frame_that_its_telescope_does_not_list_is_marked_and_comes_back(books: Books) -> None:
    here, gone = by_header(at(10)), by_header(at(30))
    books.record(here, gone)
    books.inventory(here)
    assert [frame.state for frame in books.frames] == [FrameState.OK, FrameState.NOT_ON_TELESCOPE]
    assert books.block.frame_count == 1
    books.inventory(here, gone)
    assert {frame.state for frame in books.frames} == {FrameState.OK}
    assert books.block.frame_count == 2


def test_a_frame_seen_while_the_inventory_was_under_way_is_not_said_to_be_missing(books: Books) -> None:
    books.record(by_header(at(10)))
    books.inventory(at=NOW - timedelta(seconds=1))
    assert books.frames[0].state == FrameState.OK
    assert books.frames[0].inventoried_at is None
    books.inventory(at=NOW + timedelta(seconds=1))
    assert books.frames[0].state == FrameState.NOT_ON_TELESCOPE


def test_nothing_is_said_of_a_folder_that_was_not_looked_at(books: Books) -> None:
    books.record(by_header(at(10)))
    books.inventory(folders={"M 31_sub"})
    assert books.frames[0].state == FrameState.OK
    books.inventory(folders={FOLDER})
    assert books.frames[0].state == FrameState.NOT_ON_TELESCOPE


def test_a_frame_that_vanishes_reopens_the_block_that_was_ready(books: Books) -> None:
    first = by_header(at(10))
    books.record(first)
    books.inventory(first)
    books.move(BlockState.READY)
    books.inventory()
    assert books.contents() == [(BLOCK_START, 0, "collecting")]


def test_a_block_lies_in_the_folder_that_the_telescope_shows(books: Books) -> None:
    copy = replace(by_header(at(10)), folder="synced copies")
    books.record(copy)
    assert books.block.folder == "synced copies"
    original = by_name(at(10))
    books.record(original)
    books.inventory(original)
    assert (books.block.folder, books.block.frame_count) == (FOLDER, 1)


# -- in any order ----------------------------------------------------------------------------------

_KINDS = {"half": half_of, "name": by_name, "header": by_header}
# Frames over two blocks; two lie next to the edge, where name and header may disagree.
_STARTS = [10.0, 300.0, 600.0, 899.3, 900.8, 1300.0]


@st.composite
def _sightings(draw: st.DrawFn) -> list[tuple[float, str]]:
    chosen = draw(st.lists(st.sampled_from(_STARTS), min_size=1, max_size=6, unique=True))
    kinds = st.lists(st.sampled_from(sorted(_KINDS)), min_size=1, max_size=4)
    return [(start, kind) for start in chosen for kind in draw(kinds)]


def _recorded(store: Store, batches: Iterable[list[tuple[float, str]]]) -> object:
    with open_books(store) as books:
        for batch in batches:
            books.record(*(_KINDS[kind](at(start)) for start, kind in batch))
        frames = [
            (frame.file_name, frame.state, frame.start_at, frame.start_source) for frame in books.frames
        ]
        return books.contents(), frames


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data(), sightings=_sightings())
def test_sightings_in_any_order_and_any_batches_give_the_same_blocks(
    store: Store, data: st.DataObject, sightings: list[tuple[float, str]]
) -> None:
    shuffled = data.draw(st.permutations(sightings))
    cut = data.draw(st.integers(0, len(shuffled)))
    assert _recorded(store, [shuffled[:cut], shuffled[cut:]]) == _recorded(store, [sightings])
