"""A block's raw frames on their way to the server's own stacker: one stack of them, whatever happens."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.raw_frames import RawGroup, raw_frame
from skyrelay.crowdsky.sent_ledger import SentLedger
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import BlockState, DeliveryState, TelescopeState
from skyrelay.fits_header import parse_header
from skyrelay.store.receipts import Stage, build_receipt
from skyrelay.store.tables import Block, Delivery, Telescope
from skyrelay.store.transitions import move_block
from skyrelay_simulators.crowdsky import Fault
from support.fits_files import write_fits

from .conftest import PASSWORD, Home, frame_bytes

A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(hours=25)
KEY = "20250327.05_HP033810"


def handed_in(home: Home) -> list[str]:
    """Name the frames of which the server has received the whole, in order."""
    return [file.file_name for entry in home.crowdsky.requests("raw_file") for file in entry.files]


def test_a_blocks_frames_come_from_its_telescope_and_become_one_stack(home: Home) -> None:
    block_id = home.add_raw_block(frames=4)

    home.work()
    delivery = home.raw_delivery(block_id)
    assert (delivery.state, delivery.server_chunk_key) == (DeliveryState.ACCEPTED, KEY)
    home.work(after=A_MINUTE)

    delivery = home.raw_delivery(block_id)
    assert (delivery.state, delivery.server_id) == (DeliveryState.CONFIRMED, "1")
    assert delivery.raw_session is None
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [4]
    assert handed_in(home) == [frame.file_name for frame in home.frames(block_id)]
    assert home.archived() == []
    assert not list((home.folder / "data" / "archive" / ".arriving").iterdir())


def remember(home: Home, block_id: int, *, frames: int, accepted: bool = True) -> None:
    """Have a script remember that it sent so many of a block's frames."""
    members = [
        raw_frame(Path(frame.file_name), parse_header(content), len(content))
        for frame in home.frames(block_id)[:frames]
        for content in [frame_bytes(frame.start_at, bytes(64))]
    ]
    ledger = SentLedger(home.folder / "data", home.crowdsky.base_url, "alice")
    note = ledger.accept if accepted else ledger.begin
    note(RawGroup(members).fingerprint, home.clock())


def test_frames_that_a_script_has_sent_wait_for_their_stack_to_be_listed(home: Home) -> None:
    block_id = home.add_raw_block(frames=4)
    remember(home, block_id, frames=4)
    home.work()
    delivery = home.raw_delivery(block_id)
    assert delivery.state == DeliveryState.ACCEPTED
    assert "from a script" in delivery.reason
    assert home.crowdsky.requests("raw_start") == []


def test_a_script_that_got_no_answer_is_asked_after_before_a_session_is_begun(home: Home) -> None:
    block_id = home.add_raw_block(frames=4)
    remember(home, block_id, frames=4, accepted=False)
    home.work()
    assert home.raw_delivery(block_id).state == DeliveryState.RETRYING
    home.work(after=A_DAY)
    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(home.crowdsky.requests("raw_start")) == 1


def test_where_a_script_has_sent_some_of_the_frames_a_person_decides(home: Home) -> None:
    block_id = home.add_raw_block(frames=4)
    remember(home, block_id, frames=3)
    home.work()
    delivery = home.raw_delivery(block_id)
    assert (delivery.state, delivery.needs_you) == (DeliveryState.DEAD, True)
    assert "which a script sent" in delivery.reason
    assert home.crowdsky.requests("raw_start") == []


def test_a_watched_folders_frames_go_though_their_telescope_does_not_have_them(home: Home) -> None:
    home.changes["image_watcher"] = {"watch_path": str(home.folder / "watched")}
    block_id = home.add_raw_block(at_hand=True)
    home.telescope.stop()

    home.work()

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(home.crowdsky.uploads) == 1
    watched = list((home.folder / "watched").rglob("*.fit"))
    assert len(watched) == 3, "they are the owner's, and stay"


@pytest.mark.parametrize(("scrub", "is_there"), [(None, False), (False, True)])
def test_coordinates_are_taken_out_unless_the_owner_says_otherwise(
    home: Home, scrub: bool | None, is_there: bool
) -> None:
    block_id = home.add_raw_block()

    home.work(home.workshop(scrub_location=scrub))

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    sent = home.crowdsky.requests("raw_file")[0].files[0]
    laid = home.telescope.emmc.target_folder("M 94_sub") / home.frames(block_id)[0].file_name
    is_as_it_was = sent.sha256 == _sha256(laid.read_bytes())
    assert is_as_it_was is is_there
    assert home.crowdsky.requests("raw_finalize")[0].fields["scrub_location"] == ("0" if is_there else "1")
    assert "overwrite" not in home.crowdsky.requests("raw_finalize")[0].fields


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_session_that_breaks_off_is_gone_on_with_and_no_frame_goes_twice(home: Home) -> None:
    block_id = home.add_raw_block(frames=4)
    fine = Fault(mode="headers", times=2)
    home.crowdsky.show("raw_file", fine, Fault(mode="status", status=503, times=1))

    home.work()
    delivery = home.raw_delivery(block_id)
    assert (delivery.state, len(delivery.raw_session["handed_in"])) == (DeliveryState.PENDING, 2)
    home.work(after=timedelta(minutes=10))

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(home.crowdsky.requests("raw_start")) == 1
    assert sorted(handed_in(home)) == [frame.file_name for frame in home.frames(block_id)]
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [4]


def test_a_frame_without_an_answer_spoils_its_session_and_another_is_begun(home: Home) -> None:
    block_id = home.add_raw_block()
    home.crowdsky.show("raw_file", Fault(mode="headers", times=1), Fault(mode="drop-after-store", times=1))

    home.work()
    home.work(after=timedelta(minutes=10))

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    tokens = [entry.fields["session_token"] for entry in home.crowdsky.requests("raw_file")]
    assert len(set(tokens)) == 2
    ended = [entry.fields["session_token"] for entry in home.crowdsky.requests("raw_finalize")]
    assert ended == [tokens[-1]]
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [3]


def test_a_session_that_the_server_forgot_is_begun_again(home: Home) -> None:
    block_id = home.add_raw_block()
    home.crowdsky.show("raw_file", Fault(mode="headers", times=1), Fault(mode="status", status=404, times=1))

    home.work()
    home.work(after=timedelta(minutes=10))

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(home.crowdsky.requests("raw_start")) == 2
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [3]


def test_a_worker_killed_while_it_hands_frames_in_is_followed_by_one_that_goes_on(home: Home) -> None:
    block_id = home.add_raw_block(frames=3)
    home.crowdsky.show("raw_file", Fault(mode="headers", times=1), Fault(mode="status", status=503, times=1))
    home.work()
    delivery = home.raw_delivery(block_id)  # as a kill leaves it: in nobody's hands once the lease is over
    home.change(delivery, lease_until=home.clock() + A_MINUTE, next_attempt_at=None, attempts=0)
    home.work()
    assert len(home.crowdsky.requests("raw_file")) == 2, "its lease still holds"

    home.work(after=2 * A_MINUTE)

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(home.crowdsky.requests("raw_start")) == 1
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [3]


def test_a_worker_killed_while_the_server_was_told_to_stack_makes_nothing_arrive_twice(home: Home) -> None:
    block_id = home.add_raw_block()
    home.crowdsky.show("raw_finalize", Fault(mode="drop-after-store", times=1))
    home.work()
    delivery = home.raw_delivery(block_id)
    assert (delivery.state, delivery.ask_first, delivery.raw_session) == (DeliveryState.RETRYING, True, None)
    home.change(delivery, state=DeliveryState.SENDING, lease_until=home.clock(), ask_first=False)

    home.work(after=2 * A_MINUTE)

    assert home.raw_delivery(block_id).state == DeliveryState.CONFIRMED
    assert len(home.crowdsky.uploads) == 1


@pytest.mark.parametrize(
    "answer", [Fault(mode="status", status=502, times=1), Fault(mode="html-200", times=1)]
)
def test_an_end_that_a_proxy_answered_waits_for_the_servers_queue(home: Home, answer: Fault) -> None:
    block_id = home.add_raw_block()
    home.crowdsky.show("raw_finalize", answer)

    home.work()
    home.work(after=timedelta(hours=20))
    assert home.raw_delivery(block_id).state == DeliveryState.RETRYING
    assert len(home.crowdsky.requests("raw_finalize")) == 1

    home.work(after=timedelta(hours=5))
    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(home.crowdsky.uploads) == 1


def test_an_end_that_the_server_was_too_busy_for_comes_again_without_the_frames(home: Home) -> None:
    block_id = home.add_raw_block()
    home.crowdsky.show("raw_finalize", Fault(mode="status", status=503, times=1))

    home.work()
    home.work(after=timedelta(minutes=10))

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert len(handed_in(home)) == 3
    assert len(home.crowdsky.uploads) == 1


def upload_another(home: Home, tmp_path: Path, **cards: Any) -> None:
    client = CrowdSkyClient(home.crowdsky.base_url, "alice", PASSWORD)
    client.upload_stack(StackUpload(write_fits(tmp_path / "other.fit", **cards), "other.fit"))


def test_a_chunk_that_holds_another_stack_needs_a_person_and_costs_no_frame(
    home: Home, tmp_path: Path
) -> None:
    upload_another(home, tmp_path, FILTER="LP")
    block_id = home.add_raw_block()

    home.work()

    dead = home.raw_delivery(block_id)
    assert (dead.state, dead.needs_you) == (DeliveryState.DEAD, True)
    assert f"the chunk {KEY} holds stack 1 (M 94, LP)" in dead.reason
    assert "stacked on its telescope instead" in dead.reason
    assert home.crowdsky.requests("raw_start") == []


def test_a_session_that_the_server_skips_needs_a_person(home: Home, tmp_path: Path) -> None:
    upload_another(home, tmp_path, FILTER="LP")
    home.crowdsky.show("my_stacks", Fault(mode="status", status=200, body="[]", times=1))  # it came since
    block_id = home.add_raw_block()

    home.work()

    dead = home.raw_delivery(block_id)
    assert (dead.state, dead.needs_you) == (DeliveryState.DEAD, True)
    assert f"the server skipped {KEY}" in dead.reason
    assert [stack.filter_name for stack in home.crowdsky.uploads] == ["LP"], "and nothing was overwritten"
    home.work(after=A_DAY)
    assert len(home.crowdsky.requests("raw_finalize")) == 1


def test_what_the_server_has_already_is_not_sent(home: Home) -> None:
    block_id = home.add_raw_block()
    home.work()
    delivery = home.raw_delivery(block_id)
    home.change(delivery, state=DeliveryState.PENDING, sent_at=None, next_attempt_at=None, raw_frames=None)

    home.work(after=timedelta(minutes=10))

    assert home.raw_delivery(block_id).state == DeliveryState.CONFIRMED
    assert len(home.crowdsky.requests("raw_start")) == 1


def test_a_frame_that_the_server_refuses_is_named_and_the_others_go(home: Home) -> None:
    block_id = home.add_raw_block()
    home.crowdsky.show("raw_file", Fault(mode="status", status=400, body={"error": "Bad frame."}, times=1))

    home.work()
    home.work(after=A_MINUTE)

    assert home.raw_delivery(block_id).state == DeliveryState.CONFIRMED
    refused, *others = home.frames(block_id)
    assert not refused.is_sent_raw
    assert "Bad frame." in (refused.state_reason or "")
    assert all(frame.is_sent_raw for frame in others)
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [2]


def test_frames_of_another_quarter_hour_by_their_headers_are_left_out_and_named(home: Home) -> None:
    block_id = home.add_raw_block()
    first = home.frames(block_id)[0]
    laid = home.telescope.emmc.target_folder("M 94_sub") / first.file_name
    write_fits(laid, TOTALEXP=None, DATE_OBS="2025-03-27T01:14:59.5", NAXIS1=32, NAXIS2=1)

    home.work()

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert "20250327.04" in (home.frames(block_id)[0].state_reason or "")
    assert [stack.n_frames_input for stack in home.crowdsky.uploads] == [2]


def test_a_telescope_that_is_away_holds_nobody_up_and_needs_no_person(home: Home) -> None:
    block_id = home.add_raw_block()
    stack_id = home.add_stack(3)
    home.work(home.workshop(enabled=False))
    home.telescope.stop()

    for _ in range(15):
        home.work(after=timedelta(minutes=6))

    delivery = home.raw_delivery(block_id)
    assert (delivery.state, delivery.needs_you) == (DeliveryState.PENDING, False)
    assert "cannot be had" in delivery.reason
    assert home.delivery(stack_id).state == DeliveryState.CONFIRMED


def test_a_telescope_that_observes_keeps_its_wi_fi(home: Home) -> None:
    block_id = home.add_raw_block()
    set_telescope(home, TelescopeState.OBSERVING)

    home.work()
    assert home.crowdsky.requests("raw_start") == []
    assert "is observing" in home.raw_delivery(block_id).reason

    set_telescope(home, TelescopeState.READY)
    home.work(after=timedelta(minutes=10))
    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED


def set_telescope(home: Home, state: TelescopeState) -> None:
    with home.store.write() as session:
        session.query(Telescope).update({"state": state})


def test_a_file_outside_the_watched_folders_is_never_read(home: Home) -> None:
    secret = home.folder / "secret"
    secret.mkdir()
    block_id = home.add_raw_block(at_hand=True)
    home.changes["image_watcher"] = {"watch_path": str(secret)}

    home.work()

    delivery = home.raw_delivery(block_id)
    assert delivery.state == DeliveryState.PENDING
    assert "mount the folder for the uploader" in delivery.reason
    assert home.crowdsky.requests("raw_start") == []


def test_a_block_that_a_person_has_stacked_instead_sends_nothing_more(home: Home) -> None:
    block_id = home.add_raw_block()
    with home.store.write() as session:
        block = session.get_one(Block, block_id)
        move_block(session, block, BlockState.COLLECTING, now=home.clock(), actor="person")

    home.work()

    assert home.crowdsky.requests("raw_start") == []


def test_a_full_account_waits_and_burns_no_block(home: Home) -> None:
    block_id = home.add_raw_block()
    words = json.dumps({"error": "Storage quota exceeded."})
    home.crowdsky.show("raw_file", Fault(mode="status", status=400, body=words, times=1))

    home.work()
    assert "quota" in (home.account().paused_reason or "")
    assert home.raw_delivery(block_id).state == DeliveryState.PENDING
    home.work(after=timedelta(hours=7))

    assert home.raw_delivery(block_id).state == DeliveryState.ACCEPTED
    assert home.account().paused_reason is None


def test_the_receipt_counts_it_as_sent_raw_then_as_delivered(home: Home) -> None:
    block_id = home.add_raw_block(frames=5)
    with home.store.read() as session:
        before = build_receipt(session, _night(home, block_id))
    home.work()
    home.work(after=A_MINUTE)
    with home.store.read() as session:
        after = build_receipt(session, _night(home, block_id))

    (block,) = before.groups[0].blocks
    assert (block.stage, block.frames, block.frames_sent_raw, before.complete) == (Stage.RAW, 5, 5, False)
    (block,) = after.groups[0].blocks
    assert (block.stage, block.chunk_key, after.complete) == (Stage.DELIVERED, KEY, True)
    totals = after.totals
    assert (totals.frames, totals.frames_sent_raw, totals.frames_missing, totals.frames_held) == (5, 5, 0, 0)
    assert (totals.blocks_raw, totals.deliveries, totals.confirmed) == (1, 1, 1)


def _night(home: Home, block_id: int) -> date:
    with home.store.read() as session:
        return date.fromisoformat(session.get_one(Block, block_id).night)


def test_a_session_of_two_pixels_is_confirmed_once_both_stacks_are_listed(home: Home) -> None:
    block_id = home.add_raw_block(frames=4)
    for frame in home.frames(block_id)[2:]:
        laid = home.telescope.emmc.target_folder("M 94_sub") / frame.file_name
        stamp = frame.start_at.replace(tzinfo=None).isoformat() if frame.start_at else None
        write_fits(laid, TOTALEXP=None, DATE_OBS=stamp, DEC=45.0, NAXIS1=32, NAXIS2=1)

    home.work()
    home.work(after=A_MINUTE)

    delivery = home.raw_delivery(block_id)
    assert (delivery.state, delivery.server_id) == (DeliveryState.CONFIRMED, "1,2")
    assert sorted(stack.n_frames_input or 0 for stack in home.crowdsky.uploads) == [2, 2]


def test_two_workers_take_one_session(home: Home) -> None:
    block_id = home.add_raw_block()
    home.work(home.workshop(enabled=False))
    delivery: Delivery = home.raw_delivery(block_id)
    home.change(delivery, lease_until=home.clock() + A_MINUTE)

    home.work()

    assert home.crowdsky.requests("raw_start") == []
