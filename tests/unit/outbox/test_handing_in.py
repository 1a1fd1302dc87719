"""Old stacks on their way into the archive: whole, of its own, and none in the place of another."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from skyrelay.crowdsky.stack_sources import LocalStacks
from skyrelay.domain.states import OPEN_BLOCKS, BlockState, DeliveryState
from skyrelay.errors import PermanentError, TransientError
from skyrelay.outbox.handing_in import hand_in
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Delivery, Stack, Telescope
from skyrelay.store.transitions import move_delivery
from support.fits_files import write_fits
from support.recorded_night import RecordedNight

NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)
NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"


def handed_in(store: Store, file: Path, zone: str | None = None) -> int:
    """Hand a file in; give its delivery."""
    (candidate,) = [each for each in LocalStacks(file.parent).find() if each.path == file]
    assert candidate.facts is not None
    archive = file.parents[1] / "archive"
    return hand_in(store, archive, file, candidate.facts, NOW, ZoneInfo(zone) if zone else None)


def old(tmp_path: Path, name: str = NAME, **cards: Any) -> Path:
    """Write an old stack."""
    folder = tmp_path / "old"
    folder.mkdir(exist_ok=True)
    return write_fits(folder / name, **cards)


def stacks(store: Store) -> list[Stack]:
    with store.read() as session:
        return list(session.scalars(select(Stack).order_by(Stack.id)))


def test_the_archive_has_a_file_of_its_own_that_no_later_write_changes(store: Store, tmp_path: Path) -> None:
    file = old(tmp_path)
    content = file.read_bytes()
    handed_in(store, file)
    (stack,) = stacks(store)
    kept = tmp_path / "archive" / (stack.archive_path or "")
    with file.open("r+b") as opened:
        opened.write(b"overwritten in its place")
    assert kept.read_bytes() == content
    assert (stack.size_bytes, stack.frames_aligned, stack.last_end_at) == (len(content), 31, None)


def test_without_room_for_a_copy_nothing_is_booked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = old(tmp_path)
    full = type(shutil.disk_usage(tmp_path))(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(TransientError, match="disk is full"):
        handed_in(store, file)
    assert stacks(store) == []


def test_handing_in_twice_is_once(store: Store, tmp_path: Path) -> None:
    file = old(tmp_path)
    assert handed_in(store, file) == handed_in(store, file)
    assert len(stacks(store)) == 1


def test_one_without_a_telescope_is_once_too(store: Store, tmp_path: Path) -> None:
    file = old(tmp_path, TELESCOP=None)
    assert handed_in(store, file) == handed_in(store, file)
    with store.read() as session:
        assert session.scalars(select(Telescope)).one().serial is None


def test_two_of_one_name_lie_side_by_side(store: Store, tmp_path: Path) -> None:
    first = handed_in(store, old(tmp_path))
    second = handed_in(store, old(tmp_path, TOTALEXP=310.0))
    assert first != second
    one, two = stacks(store)
    assert {Path(one.archive_path or "").name, Path(two.archive_path or "").name} == {
        NAME,
        NAME.replace(".fit", "_2.fit"),
    }


def waiting_block(store: Store, state: BlockState, **columns: Any) -> None:
    """Have the quarter hour of the old stack wait to be stacked, as its frames' names spell it."""
    with store.write() as session:
        night = RecordedNight(session)
        telescope = night.telescope(serial="1d3fe189")
        spelt = {"exposure": "10s", "filter": "ircut", **columns}
        night.block(telescope, "M 94", datetime(2025, 3, 26, 21, 15), state, frames=3, **spelt)  # noqa: DTZ001


@pytest.mark.parametrize("state", sorted(OPEN_BLOCKS))
def test_a_block_that_waits_is_covered_by_its_stack_however_that_is_spelt(
    store: Store, tmp_path: Path, state: BlockState
) -> None:
    waiting_block(store, state)
    handed_in(store, old(tmp_path))
    with store.read() as session:
        block = session.scalars(select(Block)).one()
    assert (block.state, block.reason) == (
        BlockState.COVERED,
        f"its stack {NAME} was handed in from a folder",
    )
    assert [stack.block_id for stack in stacks(store)] == [block.id]


def test_a_block_that_a_person_wants_stacked_all_the_same_is_left_to_that(
    store: Store, tmp_path: Path
) -> None:
    waiting_block(store, BlockState.READY, is_wanted_again=True)
    handed_in(store, old(tmp_path))
    with store.read() as session:
        assert session.scalars(select(Block)).one().state == BlockState.READY


def test_what_was_given_up_is_tried_again(store: Store, tmp_path: Path) -> None:
    file = old(tmp_path)
    id_ = handed_in(store, file)
    with store.write() as session:
        delivery = session.get_one(Delivery, id_)
        move_delivery(session, delivery, DeliveryState.DEAD, now=NOW, actor="test", needs_you=True)
    assert handed_in(store, file) == id_
    with store.read() as session:
        delivery = session.get_one(Delivery, id_)
    assert (delivery.state, delivery.needs_you) == (DeliveryState.PENDING, False)


def test_its_night_is_that_of_the_site(store: Store, tmp_path: Path) -> None:
    handed_in(store, old(tmp_path, DATE_OBS="2025-03-27T13:20:00"), "Pacific/Auckland")
    with store.read() as session:
        block = session.scalars(select(Block)).one()
    assert (block.night, block.utc_offset_min) == ("2025-03-27", 13 * 60)  # 02:20 in the morning after


def test_a_name_that_says_nothing_is_filled_up_from_the_header(store: Store, tmp_path: Path) -> None:
    handed_in(store, old(tmp_path, "CrowdSky_best.fit"))
    with store.read() as session:
        block = session.scalars(select(Block)).one()
    assert (block.target, block.exposure, block.filter) == ("M 94", "10.0s", "IRCUT")


def test_a_file_that_has_changed_since_it_was_found_is_refused(store: Store, tmp_path: Path) -> None:
    file = old(tmp_path)
    (found,) = LocalStacks(file.parent).find()
    assert found.facts is not None
    write_fits(file, TOTALEXP=10.0)
    with pytest.raises(TransientError, match="has changed"):
        hand_in(store, tmp_path / "archive", file, found.facts, NOW, None)


def test_what_the_server_could_not_take_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="DATE-OBS"):
        handed_in(store, old(tmp_path, DATE_OBS=None))
    assert stacks(store) == []
