"""One telescope is one row, whichever was known first: its address, its frames, or its serial number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, FrameState
from skyrelay.outbox.raw_route import frames_for_raw, send_raw
from skyrelay.settings import TelescopeSettings
from skyrelay.store.engine import Store
from skyrelay.store.tables import AuditEntry, Block, Delivery, Frame, Telescope
from skyrelay.store.telescopes import (
    adopt_serial,
    lay_down_configured,
    telescope_of_name,
    telescope_of_serial,
)
from support.recorded_night import RecordedNight

_NOW = datetime(2025, 3, 27, 4, tzinfo=UTC)
_EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
_GARDEN = TelescopeSettings(
    name="garden", host="192.0.2.7", rpc_port=14700, http_port=10080, smb_port=10445, smb_share="EMMC",
    key_path=Path("/keys/garden.pem"), timezone="Europe/Vienna",
)  # fmt: skip


def configure(store: Store, *configured: TelescopeSettings) -> None:
    with store.write() as session:
        lay_down_configured(session, configured, _NOW)


def adopt(store: Store, name: str, serial: str) -> int:
    """Let the telescope of that name turn out to be ``serial``; give the id of its row."""
    with store.write() as session:
        return adopt_serial(session, by_name(session, name), serial, _NOW).id


def by_name(session: Session, name: str) -> Telescope:
    row = telescope_of_name(session, name)
    assert row is not None
    return row


def telescopes(store: Store) -> dict[str, tuple[str | None, str | None]]:
    """Give serial and host of each telescope, by name."""
    with store.read() as session:
        return {row.name: (row.serial, row.host) for row in session.scalars(select(Telescope))}


def identified(store: Store) -> list[tuple[int | None, str, str]]:
    with store.read() as session:
        lines = session.scalars(select(AuditEntry).where(AuditEntry.event == "identified"))
        return [(line.subject_id, line.actor, line.reason) for line in lines]


def test_a_configured_telescope_gets_a_row_with_its_address(store: Store) -> None:
    configure(store, _GARDEN)
    with store.read() as session:
        row = by_name(session, "garden")
    assert (row.serial, row.host, row.rpc_port, row.http_port) == (None, "192.0.2.7", 14700, 10080)
    assert (row.smb_port, row.smb_share, row.key_path) == (10445, "EMMC", "/keys/garden.pem")
    assert (row.timezone, row.created_at, row.lease_fence) == ("Europe/Vienna", _NOW, 0)


def test_laying_down_again_follows_the_configuration(store: Store) -> None:
    configure(store, _GARDEN)
    configure(store, _GARDEN.model_copy(update={"host": "192.0.2.8", "key_path": None}))
    with store.read() as session:
        row = by_name(session, "garden")
    assert (row.host, row.key_path) == ("192.0.2.8", None)
    assert len(telescopes(store)) == 1


def test_laying_down_does_not_forget_a_serial_that_was_found(store: Store) -> None:
    configure(store, _GARDEN)
    adopt(store, "garden", "aaaa1111")
    configure(store, _GARDEN)
    assert telescopes(store) == {"garden": ("aaaa1111", "192.0.2.7")}


def test_a_telescope_known_from_its_frames_has_no_address(store: Store) -> None:
    with store.write() as session:
        first = telescope_of_serial(session, "aaaa1111", _NOW)
        assert telescope_of_serial(session, "aaaa1111", _NOW) is first
    assert telescopes(store) == {"Seestar aaaa1111": ("aaaa1111", None)}


def test_a_name_that_a_person_has_given_is_not_taken_away(store: Store) -> None:
    configure(store, _GARDEN.model_copy(update={"name": "Seestar aaaa1111"}))
    with store.write() as session:
        telescope_of_serial(session, "aaaa1111", _NOW)
    assert telescopes(store) == {
        "Seestar aaaa1111": (None, "192.0.2.7"),
        "Seestar aaaa1111 (2)": ("aaaa1111", None),
    }
    adopt(store, "Seestar aaaa1111", "aaaa1111")
    assert telescopes(store) == {"Seestar aaaa1111": ("aaaa1111", "192.0.2.7")}


def test_the_first_contact_tells_the_serial(store: Store) -> None:
    configure(store, _GARDEN)
    first = adopt(store, "garden", "aaaa1111")
    assert adopt(store, "garden", "aaaa1111") == first
    assert telescopes(store) == {"garden": ("aaaa1111", "192.0.2.7")}
    assert identified(store) == [(first, "stacker", "garden is aaaa1111")]


def test_frames_that_came_first_keep_their_row(store: Store) -> None:
    with store.write() as session:
        seen = telescope_of_serial(session, "aaaa1111", _NOW)
        RecordedNight(session).block(seen, "M 94", _EVENING, frames=3)
    configure(store, _GARDEN)
    assert adopt(store, "garden", "aaaa1111") == seen.id
    with store.read() as session:
        row = by_name(session, "garden")
        assert {frame.telescope_id for frame in session.scalars(select(Frame))} == {seen.id}
    assert telescopes(store) == {"garden": ("aaaa1111", "192.0.2.7")}
    assert (row.id, row.rpc_port, row.smb_share, row.key_path) == (seen.id, 14700, "EMMC", "/keys/garden.pem")


def test_what_was_recorded_under_the_placeholder_goes_to_the_telescope(store: Store) -> None:
    """An unreadable frame says nothing of its telescope: it is recorded under the configured one."""
    configure(store, _GARDEN)
    with store.write() as session:
        night, garden = RecordedNight(session), by_name(session, "garden")
        seen = telescope_of_serial(session, "aaaa1111", _NOW)
        night.frame(garden, "M 94", _EVENING, state=FrameState.UNREADABLE, start_at=None)
        night.block(garden, "M 81", _EVENING, frames=2)  # headers without a serial
        night.block(seen, "M 94", _EVENING + timedelta(minutes=15), frames=4)
    adopt(store, "garden", "aaaa1111")
    with store.read() as session:
        frames = list(session.scalars(select(Frame)))
        blocks = {block.target: block for block in session.scalars(select(Block))}
    assert len(frames) == 7
    assert {row.telescope_id for row in [*frames, *blocks.values()]} == {seen.id}
    assert {target: block.frame_count for target, block in blocks.items()} == {"M 81": 2, "M 94": 4}
    assert telescopes(store) == {"garden": ("aaaa1111", "192.0.2.7")}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (BlockState.COLLECTING, BlockState.COLLECTING),
        (BlockState.READY, BlockState.COLLECTING),
        (BlockState.SKIPPED, BlockState.COLLECTING),
        (BlockState.STACKED, BlockState.STACKED),
    ],
)
def test_one_block_recorded_under_both_becomes_one(
    store: Store, state: BlockState, expected: BlockState
) -> None:
    configure(store, _GARDEN)
    with store.write() as session:
        night, garden = RecordedNight(session), by_name(session, "garden")
        seen = telescope_of_serial(session, "aaaa1111", _NOW)
        night.block(garden, "M 94", _EVENING, frames=3)
        night.block(seen, "M 94", _EVENING, state, frames=2)  # the first two are the same files
    adopt(store, "garden", "aaaa1111")
    with store.read() as session:
        (block,) = session.scalars(select(Block)).all()
        frames = session.scalars(select(Frame)).all()
    assert (block.telescope_id, block.frame_count, block.state) == (seen.id, 3, expected)
    assert block.frames_changed_at == _NOW
    assert [(frame.telescope_id, frame.block_id) for frame in frames] == [(seen.id, block.id)] * 3


def test_raw_frames_that_the_placeholder_owes_are_owed_by_the_telescope(store: Store) -> None:
    configure(store, _GARDEN)
    with store.write() as session:
        night, garden = RecordedNight(session), by_name(session, "garden")
        seen = telescope_of_serial(session, "aaaa1111", _NOW)
        block = night.block(garden, "M 94", _EVENING, frames=3)
        night.block(seen, "M 94", _EVENING, frames=2)  # the first two are the same files
        send_raw(session, block, frames_for_raw(session, block), now=_NOW, actor="stacker", reason="raw")
    adopt(store, "garden", "aaaa1111")
    with store.read() as session:
        (block,) = session.scalars(select(Block)).all()
        (delivery,) = session.scalars(select(Delivery)).all()
        frames = session.scalars(select(Frame)).all()
    assert (block.telescope_id, block.state, delivery.block_id) == (seen.id, BlockState.RAW, block.id)
    assert [frame.is_sent_raw for frame in frames] == [True] * 3


def test_another_telescope_at_the_address_gets_a_row_of_its_own(store: Store) -> None:
    configure(store, _GARDEN)
    old = adopt(store, "garden", "aaaa1111")
    new = adopt(store, "garden", "bbbb2222")
    assert new != old
    assert telescopes(store) == {
        "garden": ("bbbb2222", "192.0.2.7"),
        "garden (was aaaa1111)": ("aaaa1111", None),
    }
    assert identified(store)[-1] == (old, "stacker", "garden is bbbb2222, no longer aaaa1111")


def test_the_frames_of_a_telescope_that_was_replaced_stay_its_own(store: Store) -> None:
    configure(store, _GARDEN)
    with store.write() as session:
        old = adopt_serial(session, by_name(session, "garden"), "aaaa1111", _NOW)
        RecordedNight(session).block(old, "M 94", _EVENING, frames=2)
    adopt(store, "garden", "bbbb2222")
    with store.read() as session:
        assert {frame.telescope_id for frame in session.scalars(select(Frame))} == {old.id}


def test_two_telescopes_may_change_places_again_and_again(store: Store) -> None:
    configure(store, _GARDEN)
    first = adopt(store, "garden", "aaaa1111")
    second = adopt(store, "garden", "bbbb2222")
    for _ in range(2):
        assert adopt(store, "garden", "aaaa1111") == first
        assert adopt(store, "garden", "bbbb2222") == second
    assert telescopes(store) == {
        "garden": ("bbbb2222", "192.0.2.7"),
        "garden (was aaaa1111)": ("aaaa1111", None),
    }


def test_a_serial_added_to_the_configuration_joins_what_is_known(store: Store) -> None:
    """The address was configured first, frames came, then the owner added the serial number."""
    configure(store, _GARDEN)
    with store.write() as session:
        seen = telescope_of_serial(session, "aaaa1111", _NOW)
    configure(store, _GARDEN.model_copy(update={"serial": "aaaa1111"}))
    assert telescopes(store) == {"garden": ("aaaa1111", "192.0.2.7")}
    assert identified(store) == [(seen.id, "configuration", "garden is aaaa1111")]


def test_a_serial_changed_in_the_configuration_is_another_telescope(store: Store) -> None:
    configure(store, _GARDEN.model_copy(update={"serial": "aaaa1111"}))
    with store.write() as session:
        RecordedNight(session).block(by_name(session, "garden"), "M 94", _EVENING, frames=2)
    configure(store, _GARDEN.model_copy(update={"serial": "bbbb2222"}))
    assert telescopes(store) == {
        "garden": ("bbbb2222", "192.0.2.7"),
        "garden (was aaaa1111)": ("aaaa1111", None),
    }
    with store.read() as session:
        (owner,) = {frame.telescope_id for frame in session.scalars(select(Frame))}
        assert session.get_one(Telescope, owner).serial == "aaaa1111"


def test_a_new_name_for_a_configured_serial_is_the_same_telescope(store: Store) -> None:
    configure(store, _GARDEN.model_copy(update={"serial": "aaaa1111"}))
    configure(store, _GARDEN.model_copy(update={"serial": "aaaa1111", "name": "roof"}))
    assert telescopes(store) == {"roof": ("aaaa1111", "192.0.2.7")}


def test_names_may_be_swapped_in_the_configuration(store: Store) -> None:
    garden = _GARDEN.model_copy(update={"serial": "aaaa1111"})
    roof = _GARDEN.model_copy(update={"serial": "bbbb2222", "name": "roof", "host": "192.0.2.9"})
    configure(store, garden, roof)
    configure(store, garden.model_copy(update={"name": "roof"}), roof.model_copy(update={"name": "garden"}))
    assert telescopes(store) == {"roof": ("aaaa1111", "192.0.2.7"), "garden": ("bbbb2222", "192.0.2.9")}


def test_a_telescope_taken_out_of_the_configuration_keeps_its_row_and_is_left_alone(store: Store) -> None:
    configure(store, _GARDEN)
    adopt(store, "garden", "5e3a7b21")
    configure(store)
    assert telescopes(store) == {"garden": ("5e3a7b21", None)}
    configure(store, _GARDEN)
    assert telescopes(store) == {"garden": ("5e3a7b21", "192.0.2.7")}


def stacking_block(store: Store, name: str) -> int:
    """Have the telescope of that name stack a block."""
    with store.write() as session:
        night = RecordedNight(session)
        row = by_name(session, name)
        return night.block(row, "M 81", _EVENING, BlockState.STACKING, percent=40.0, attempts=1).id


def left_to_a_person(store: Store, block_id: int) -> str:
    """Check that a block waits for a person; give the reason."""
    with store.read() as session:
        block = session.get_one(Block, block_id)
        assert (block.state, block.needs_you, block.next_attempt_at) == (BlockState.FAILED, True, None)
        steps = select(AuditEntry.to_state).where(AuditEntry.subject_kind == "block")
        assert list(session.scalars(steps)) == [BlockState.FAILED]
        return block.reason


def test_what_a_telescope_was_stacking_that_was_replaced_waits_for_a_person(store: Store) -> None:
    configure(store, _GARDEN)
    adopt(store, "garden", "aaaa1111")
    block_id = stacking_block(store, "garden")
    adopt(store, "garden", "bbbb2222")
    assert "another telescope (bbbb2222) took its place as garden" in left_to_a_person(store, block_id)


def test_what_a_telescope_was_stacking_that_is_no_longer_configured_waits_for_a_person(store: Store) -> None:
    configure(store, _GARDEN)
    adopt(store, "garden", "aaaa1111")
    block_id = stacking_block(store, "garden")
    configure(store, _GARDEN)
    with store.read() as session:
        assert session.get_one(Block, block_id).state == BlockState.STACKING
    configure(store)
    assert "garden is no longer in the configuration" in left_to_a_person(store, block_id)
