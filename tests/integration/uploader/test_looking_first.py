"""The uploader looks before it sends: at the server's list, and at what scripts say that they have sent."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from skyrelay.crowdsky.client import CrowdSkyClient
from skyrelay.crowdsky.sent_ledger import SentLedger
from skyrelay.crowdsky.stack_facts import stack_facts
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.fits_header import parse_header
from skyrelay.store.tables import Block, Delivery, Stack
from skyrelay_simulators.crowdsky import Fault
from skyrelay_uploader import confirming
from skyrelay_uploader.delivering import StackParcel, carry_stack, claim
from skyrelay_uploader.fetching import fetch_stack
from support.recorded_night import RecordedNight

from .conftest import PASSWORD, Home, stack_bytes

A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(hours=25)
KEY = "20250327.05_HP033810"


def uploads(home: Home) -> int:
    return len(home.crowdsky.requests("upload_stack"))


def by_another_tool(home: Home, stack_id: int, **fields: Any) -> None:
    """Have a tool that knows nothing of the services send the stack's file."""
    stack = home.stack(stack_id)
    file = home.telescope.emmc.target_folder(stack.folder) / stack.crowdsky_name
    client = CrowdSkyClient(home.crowdsky.base_url, "alice", PASSWORD)
    client.upload_stack(StackUpload(file, stack.crowdsky_name, **fields))


def test_a_stack_that_another_tool_has_sent_is_confirmed_and_not_sent(home: Home) -> None:
    opener, stack_id = home.add_stack(4), home.add_stack()
    home.work(home.workshop(enabled=False))
    home.work_on(opener)  # the account works, so that nothing is probed
    stack = home.stack(stack_id)
    by_another_tool(home, stack_id, date_obs_start=stack.first_start_at, date_obs_end=stack.last_start_at)

    home.work(after=timedelta(minutes=3))

    delivery = home.delivery(stack_id)
    assert (delivery.state, delivery.server_chunk_key) == (DeliveryState.CONFIRMED, KEY)
    assert [entry.event for entry in home.audit("delivery") if entry.subject_id == delivery.id][:1] == [
        "step"
    ]
    assert "it is there already" in [entry.reason for entry in home.audit("delivery")]
    assert uploads(home) == 2, "the opener's and the other tool's"


def test_a_tool_that_does_not_tell_the_end_is_known_by_the_total_exposure(home: Home) -> None:
    stack_id = home.add_stack(exposure_total_s=320.0)  # as its header says
    by_another_tool(home, stack_id)

    home.work()

    assert home.delivery(stack_id).state == DeliveryState.CONFIRMED
    assert uploads(home) == 1


def test_hundreds_cost_one_look_at_the_list(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(6)]

    home.work(home.workshop(confirm_s=3600.0))

    assert {home.delivery(stack_id).state for stack_id in stacks} == {DeliveryState.ACCEPTED}
    assert len(home.crowdsky.requests("my_stacks")) == 1


def test_without_the_list_nothing_is_sent_for_the_first_time(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("my_stacks", Fault(mode="html-200"))

    home.work()
    assert uploads(home) == 0
    assert home.delivery(stack_id).state == DeliveryState.PENDING

    home.crowdsky.show("my_stacks")
    home.work(after=timedelta(minutes=10))
    assert home.delivery(stack_id).state == DeliveryState.ACCEPTED


def test_a_late_failure_leaves_alone_what_another_has_done_since(home: Home) -> None:
    stack_id = home.add_stack()
    fetch_stack(home.workshop(), stack_id)
    late = claim(home.workshop(), home.delivery(stack_id).id)
    assert isinstance(late, StackParcel)
    taken = {"state": DeliveryState.ACCEPTED, "sent_at": home.clock(), "reason": "the server has taken it"}
    home.change(home.delivery(stack_id), **taken, lease_until=None)
    home.crowdsky.show("my_stacks", Fault(mode="status", status=503))

    carry_stack(home.workshop(), late)

    delivery = home.delivery(stack_id)
    assert (delivery.reason, delivery.attempts) == ("the server has taken it", 0)
    assert (delivery.next_attempt_at, delivery.needs_you) == (None, False)


def listing(*rows: dict[str, object]) -> Fault:
    """Have the server list these rows."""
    return Fault(mode="status", status=200, body=json.dumps(rows))


def test_a_row_of_our_chunk_that_says_too_little_is_left_to_a_person(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("my_stacks", listing({"id": 7, "chunk_key": KEY}))
    home.work()
    dead = home.delivery(stack_id)
    assert (dead.state, dead.needs_you, uploads(home)) == (DeliveryState.DEAD, True, 0)
    assert "may be this one" in dead.reason

    home.change(dead, state=DeliveryState.PENDING, next_attempt_at=home.clock())  # the person wants it sent
    home.work()

    assert home.delivery(stack_id).state == DeliveryState.ACCEPTED


def test_a_row_of_nothing_but_nulls_holds_nobody_up(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("my_stacks", listing({"id": 7}))

    home.work()

    assert home.delivery(stack_id).state == DeliveryState.ACCEPTED


# What scripts have sent, and the server does not list yet


def ledger(home: Home) -> SentLedger:
    return SentLedger(home.folder / "data", home.crowdsky.base_url, "alice")


def fingerprint(home: Home, stack_id: int) -> str:
    content = stack_bytes(home.stack(stack_id).first_start_at, "M 94", bytes(64))
    return stack_facts(home.stack(stack_id).crowdsky_name, parse_header(content), len(content)).fingerprint


def test_a_stack_that_a_script_has_sent_waits_to_be_listed(slow_home: Home) -> None:
    stack_id = slow_home.add_stack()
    ledger(slow_home).accept(fingerprint(slow_home, stack_id), slow_home.clock())

    slow_home.work()

    delivery = slow_home.delivery(stack_id)
    assert delivery.state == DeliveryState.ACCEPTED
    assert "from a script" in delivery.reason
    assert uploads(slow_home) == 0
    slow_home.work(after=A_DAY)
    assert slow_home.delivery(stack_id).needs_you, "the server never listed it"


def test_a_script_without_an_answer_is_asked_after_before_it_is_sent(slow_home: Home) -> None:
    stack_id = slow_home.add_stack()
    ledger(slow_home).begin(fingerprint(slow_home, stack_id), slow_home.clock())

    slow_home.work()
    slow_home.work(after=timedelta(hours=2))
    assert (slow_home.delivery(stack_id).state, uploads(slow_home)) == (DeliveryState.RETRYING, 0)

    slow_home.work(after=A_DAY)
    assert (slow_home.delivery(stack_id).state, uploads(slow_home)) == (DeliveryState.ACCEPTED, 1)


# A block that was stacked again


def stack_again(home: Home, stack_id: int, **changes: Any) -> int:
    """Lay a second stack of a block beside its first: the same span, and to the server the same."""
    with home.store.write() as session:
        first = session.get_one(Stack, stack_id)
        block = session.get_one(Block, first.block_id)
        assert block.state == BlockState.STACKED
        first.original_name += "t"
        session.flush()
        again = RecordedNight(session).stack(block)
        same = {"first_start_at": first.first_start_at, "last_end_at": first.last_end_at, "fetched_at": None}
        name = first.crowdsky_name.replace(".fit", "_2.fit")
        original = first.original_name.replace(".fit", "_2.fit")
        for column, value in {**same, "crowdsky_name": name, "original_name": original, **changes}.items():
            setattr(again, column, value)
        content = stack_bytes(again.first_start_at, "M 94", bytes(64))
        again.size_bytes = len(content)
        RecordedNight(session).delivery(again, DeliveryState.PENDING)
        home.lay(again.folder, name, content)
        return again.id


def test_the_row_of_a_blocks_first_stack_confirms_no_second_one(home: Home) -> None:
    first = home.add_stack()
    home.work()
    home.work(after=A_MINUTE)
    assert home.delivery(first).state == DeliveryState.CONFIRMED

    second = stack_again(home, first)
    home.work(after=A_MINUTE)
    assert uploads(home) == 2
    home.work(after=A_MINUTE)

    ids = {home.delivery(first).server_id, home.delivery(second).server_id}
    assert (home.delivery(second).state, ids) == (DeliveryState.CONFIRMED, {"1", "2"})


def test_one_row_of_two_equal_stacks_confirms_one_and_the_other_says_what_nobody_can_know(
    slow_home: Home,
) -> None:
    first = slow_home.add_stack()
    slow_home.work()
    second = stack_again(slow_home, first)
    slow_home.work(after=A_MINUTE)
    assert uploads(slow_home) == 2
    rows = [row.to_row() for row in slow_home.crowdsky.uploads]
    slow_home.crowdsky.show("my_stacks", listing(rows[0]))  # the server kept one of them

    for _ in range(2):
        slow_home.work(after=A_DAY)

    states = [slow_home.delivery(stack_id).state for stack_id in (first, second)]
    assert states == [DeliveryState.CONFIRMED, DeliveryState.ACCEPTED]
    unlisted = slow_home.delivery(second)
    assert unlisted.needs_you
    assert "more than once" in unlisted.reason


def test_a_row_that_another_host_gives_away_between_the_look_and_the_books_is_given_once(
    slow_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = slow_home.add_stack()
    slow_home.work()
    second = stack_again(slow_home, first)
    slow_home.work(after=A_MINUTE)
    [row] = [row.to_row() for row in slow_home.crowdsky.uploads[:1]]
    slow_home.crowdsky.show("my_stacks", listing(row))
    compare = confirming._compare

    def and_another_books(*arguments: Any) -> Any:
        matches = compare(*arguments)
        confirmed = {"state": DeliveryState.CONFIRMED, "server_id": str(row["id"])}
        slow_home.change(slow_home.delivery(second), **confirmed)
        return matches

    monkeypatch.setattr(confirming, "_compare", and_another_books)
    slow_home.work(after=A_MINUTE)

    states = [slow_home.delivery(stack_id).state for stack_id in (first, second)]
    assert states == [DeliveryState.ACCEPTED, DeliveryState.CONFIRMED]


def test_stacks_of_one_span_are_told_apart_by_their_frames(slow_home: Home) -> None:
    first = slow_home.add_stack()
    slow_home.work()
    second = stack_again(slow_home, first, frames_input=9, frames_aligned=8)
    slow_home.work(after=A_MINUTE)
    rows = {row.n_frames_input: row.to_row() for row in slow_home.crowdsky.uploads}
    slow_home.crowdsky.show("my_stacks", listing(rows[9]))  # the second one is processed first

    slow_home.work(after=A_MINUTE)

    assert slow_home.delivery(first).state == DeliveryState.ACCEPTED
    assert slow_home.delivery(second).state == DeliveryState.CONFIRMED


@pytest.mark.parametrize("state", [DeliveryState.CONFIRMED, DeliveryState.ACCEPTED])
def test_a_lost_answer_of_a_second_stack_is_not_found_in_the_first_ones_row(
    home: Home, state: DeliveryState
) -> None:
    first = home.add_stack()
    home.work()
    home.work(after=A_MINUTE)
    home.change(home.delivery(first), state=state, server_id="1" if state == "confirmed" else None)
    second = stack_again(home, first)
    home.crowdsky.show("upload_stack", Fault(mode="reset", after_bytes=-1, times=1))

    home.work(home.workshop(confirm_s=3600.0), after=A_MINUTE)
    home.work(after=timedelta(minutes=5))

    delivery: Delivery = home.delivery(second)
    assert (delivery.state, delivery.ask_first) == (DeliveryState.RETRYING, True)
    assert home.delivery(first).state == DeliveryState.CONFIRMED
