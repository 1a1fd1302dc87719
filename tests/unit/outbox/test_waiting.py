"""Whether it is of any use to wait for deliveries, and the reason when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from skyrelay.domain.states import BlockState, DeliveryState
from skyrelay.outbox.accounts import destination
from skyrelay.outbox.waiting import Wanted, held_up
from skyrelay.store.engine import Store
from support.recorded_night import RecordedNight

NOW = datetime(2026, 11, 25, 18, tzinfo=UTC)
EVENING = datetime(2025, 3, 26, 21, 20, 32)  # noqa: DTZ001 - a telescope's wall clock
LATER = NOW + timedelta(minutes=10)


def owed(store: Store, state: DeliveryState, fetched_at: datetime | None = NOW, **columns: Any) -> Wanted:
    """Write a delivery down; give what is wanted of it."""
    with store.write() as session:
        night = RecordedNight(session)
        block = night.block(night.telescope(), "M 94", EVENING, BlockState.STACKED, frames=3)
        stack = night.stack(block)
        stack.fetched_at = fetched_at
        delivery = night.delivery(stack, state)
        for name, value in columns.items():
            setattr(delivery, name, value)
        session.flush()
        return Wanted({delivery.id})


def account(store: Store, **columns: Any) -> None:
    """Write down how the account stands."""
    with store.write() as session:
        row = destination(session, "crowdsky", NOW)
        for name, value in {"next_probe_at": None, **columns}.items():
            setattr(row, name, value)


def test_what_is_still_on_its_telescope_is_not_waited_for(store: Store) -> None:
    held = held_up(store, owed(store, DeliveryState.PENDING, fetched_at=None), NOW)
    assert held is not None
    assert "still on its telescope" in held


@pytest.mark.parametrize("state", [DeliveryState.ACCEPTED, DeliveryState.CONFIRMED, DeliveryState.DEAD])
def test_what_has_come_or_was_given_up_is_over(store: Store, state: DeliveryState) -> None:
    assert held_up(store, owed(store, state), NOW) == ""


@pytest.mark.parametrize(("needs_you", "answer"), [(False, None), (True, "")])
def test_until_confirmed_an_accepted_one_is_waited_for_until_it_needs_a_person(
    store: Store, needs_you: bool, answer: str | None
) -> None:
    ids = owed(store, DeliveryState.ACCEPTED, needs_you=needs_you).ids
    assert held_up(store, Wanted(ids, DeliveryState.CONFIRMED), NOW) == answer


@pytest.mark.parametrize(
    "columns",
    [{}, {"next_attempt_at": NOW + timedelta(seconds=20)}, {"next_attempt_at": LATER, "lease_until": LATER}],
    ids=["due", "due soon", "in hand"],
)
def test_what_is_due_or_in_hand_is_waited_for(store: Store, columns: dict[str, Any]) -> None:
    assert held_up(store, owed(store, DeliveryState.RETRYING, **columns), NOW) is None


def test_what_is_tried_again_much_later_is_not_waited_for(store: Store) -> None:
    wanted = owed(store, DeliveryState.RETRYING, next_attempt_at=LATER, reason="it gave no answer")
    assert "it gave no answer" in (held_up(store, wanted, NOW) or "")


def test_a_paused_account_is_named_in_its_words_until_its_probe_is_due(store: Store) -> None:
    wanted = owed(store, DeliveryState.PENDING)
    account(store, paused_reason="Storage quota exceeded.")
    assert "Storage quota exceeded." in (held_up(store, wanted, NOW) or "")
    account(store, paused_reason="Storage quota exceeded.", next_probe_at=LATER)
    assert "Storage quota exceeded." in (held_up(store, wanted, NOW) or "")
    assert held_up(store, wanted, LATER) is None


def test_a_server_that_is_away_for_long_is_not_waited_for(store: Store) -> None:
    wanted = owed(store, DeliveryState.PENDING)
    account(store, next_probe_at=LATER, trouble="503 Service Unavailable")
    assert "503" in (held_up(store, wanted, NOW) or "")


def test_a_send_that_was_cut_off_is_waited_for(store: Store) -> None:
    lost = {"lease_until": NOW - timedelta(minutes=1), "next_attempt_at": None}
    assert held_up(store, owed(store, DeliveryState.SENDING, **lost), NOW) is None
