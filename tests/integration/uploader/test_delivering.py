"""Deliveries on their way to a CrowdSky server, with each of its failures."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.domain.states import DeliveryState
from skyrelay.outbox.outcomes import QUOTA_PROBE
from skyrelay.service import utc_now
from skyrelay.store.secrets import SecretStore
from skyrelay.store.tables import Delivery, Destination, Stack
from skyrelay_simulators.crowdsky import Fault
from skyrelay_uploader.bandwidth import Bandwidth
from skyrelay_uploader.delivering import deliver
from skyrelay_uploader.fetching import fetch_stack
from skyrelay_uploader.reconciling import reconcile
from support.waiting import eventually

from .conftest import NOON, PASSWORD, Home

KEY = "20250327.05_HP033810"
A_MINUTE = timedelta(minutes=1)
DAY = timedelta(hours=25)  # longer than crowdsky.confirm_after_h


def uploads(home: Home) -> int:
    """Count how often a stack was sent, taken or not."""
    return len(home.crowdsky.requests("upload_stack"))


def listings(home: Home) -> int:
    """Count how often the server's list was asked for."""
    return len(home.crowdsky.requests("my_stacks"))


def state(home: Home, stack_id: int) -> str:
    return home.delivery(stack_id).state


def test_a_stack_is_delivered_with_all_that_belongs_to_it(home: Home) -> None:
    stack_id = home.add_stack()

    home.work()

    delivery, (sent,) = home.delivery(stack_id), home.crowdsky.requests("upload_stack")
    assert delivery.state == DeliveryState.ACCEPTED
    assert (delivery.server_job, delivery.server_chunk_key, delivery.attempts) == ("1", KEY, 1)
    assert delivery.accepted_at is not None
    assert delivery.lease_until is None
    assert sent.fields == {
        "n_frames_input": "2",
        "n_frames_aligned": "2",
        "date_obs_start": "2025-03-27T01:15:00",
        "date_obs_end": "2025-03-27T01:24:50",
        "scrub_location": "1",
    }
    stack = home.stack(stack_id)
    assert [(file.field, file.file_name) for file in sent.files] == [
        ("file", stack.crowdsky_name),
        ("thumbnail", stack.crowdsky_name.removesuffix(".fit") + "_thn.jpg"),
    ]


def test_it_is_confirmed_once_the_server_lists_it(slow_home: Home) -> None:
    stack_id = slow_home.add_stack()
    slow_home.work()
    slow_home.work(after=A_MINUTE)
    assert state(slow_home, stack_id) == DeliveryState.ACCEPTED

    slow_home.crowdsky.list_all_now()
    slow_home.work(after=A_MINUTE)

    delivery = slow_home.delivery(stack_id)
    assert delivery.state == DeliveryState.CONFIRMED
    assert (delivery.server_id, delivery.server_chunk_key) == ("1", KEY)
    assert delivery.confirmed_at is not None
    steps = [(entry.from_state, entry.to_state) for entry in slow_home.audit("delivery")]
    assert steps == [("pending", "sending"), ("sending", "accepted"), ("accepted", "confirmed")]
    assert uploads(slow_home) == 1


def test_a_night_is_delivered_in_one_go(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(12)]

    home.work()
    home.work(after=A_MINUTE)

    assert {state(home, stack_id) for stack_id in stacks} == {DeliveryState.CONFIRMED}
    assert uploads(home) == 12
    assert listings(home) == 2, "one look before the first of all, and one for all that were accepted"


def test_a_stack_without_a_picture_is_delivered(home: Home) -> None:
    stack_id = home.add_stack(data=b"")  # not even we can make one of it
    for picture in home.telescope.emmc.root.rglob("*.jpg"):
        picture.unlink()

    home.work()

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    assert [file.field for file in home.crowdsky.requests("upload_stack")[0].files] == ["file"]


def test_second_late_and_foreign_messages_are_harmless(home: Home) -> None:
    stack_id = home.add_stack()
    delivery_id = home.delivery(stack_id).id
    workshop = home.workshop()

    deliver(workshop, delivery_id)  # before the fetch
    assert uploads(home) == 0
    home.work(workshop)
    deliver(workshop, delivery_id)
    deliver(workshop, 4711)

    assert uploads(home) == 1
    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_what_the_server_has_already_is_not_sent(home: Home) -> None:
    stack_id = home.add_stack()
    home.work()
    with home.store.write() as session:  # the books of another home, say, or a restored backup
        delivery = session.get_one(Delivery, home.delivery(stack_id).id)
        delivery.state, delivery.sent_at, delivery.next_attempt_at = DeliveryState.PENDING, None, None
        session.delete(session.get_one(Destination, "crowdsky"))

    home.work()

    assert state(home, stack_id) == DeliveryState.CONFIRMED
    assert uploads(home) == 1


# The account


def test_wrong_credentials_cost_one_request_until_they_change(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(3)]
    wrong = home.workshop(password="wr0ng-one")

    for _ in range(5):
        home.work(wrong, after=NOON)

    assert len(home.crowdsky.requests()) == 1
    account, delivery = home.account(), home.delivery(stacks[0])
    assert account.paused_reason is not None
    assert "401" in account.paused_reason
    assert (delivery.attempts, delivery.needs_you) == (0, False)
    assert account.credentials_digest is not None
    assert "wr0ng-one" not in account.credentials_digest

    home.work(home.workshop())

    assert {state(home, stack_id) for stack_id in stacks} == {DeliveryState.ACCEPTED}
    assert home.account().paused_reason is None
    assert [entry.event for entry in home.audit("destination")] == ["paused", "resumed"]


def test_credentials_that_stop_working_pause_the_account(home: Home) -> None:
    first = home.add_stack(0)
    home.work()
    second = home.add_stack(1)
    home.crowdsky.show("upload_stack", Fault(mode="status", status=401, times=1))

    home.work()
    asked = len(home.crowdsky.requests())
    for _ in range(3):
        home.work(after=NOON)

    assert len(home.crowdsky.requests()) == asked, "not even the list is asked for while it is paused"
    assert state(home, first) == DeliveryState.ACCEPTED
    assert (state(home, second), home.delivery(second).attempts) == (DeliveryState.RETRYING, 0)
    assert uploads(home) == 2
    assert home.account().paused_reason is not None


def test_without_credentials_nothing_is_asked_and_the_settings_are_named(home: Home) -> None:
    stack_id = home.add_stack()

    home.work(home.workshop(password=""))

    assert "set crowdsky.username and crowdsky.password" in (home.account().paused_reason or "")
    assert home.stack(stack_id).fetched_at is not None, "the archive needs no account"
    assert home.crowdsky.requests() == []
    home.work()
    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_a_person_may_end_the_pause(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("my_stacks", Fault(mode="status", status=401, times=1))
    home.work()
    assert state(home, stack_id) == DeliveryState.PENDING

    with home.store.write() as session:
        session.get_one(Destination, "crowdsky").paused_reason = None
    home.work()

    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_a_full_account_waits_in_the_servers_words_and_burns_nothing(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(3)]
    home.crowdsky.show(
        "upload_stack", Fault(mode="error-200", body={"error": "Storage quota exceeded: 500 MB."}, times=2)
    )
    home.work()
    home.work(after=QUOTA_PROBE / 2)
    assert uploads(home) == 1
    assert "Storage quota exceeded: 500 MB." in (home.account().paused_reason or "")

    home.work(after=QUOTA_PROBE)
    assert uploads(home) == 2, "one probe"
    assert [home.delivery(stack_id).attempts for stack_id in stacks] == [0, 0, 0]
    assert not any(home.delivery(stack_id).needs_you for stack_id in stacks)

    home.work(after=QUOTA_PROBE + A_MINUTE)
    assert {state(home, stack_id) for stack_id in stacks} == {DeliveryState.ACCEPTED}
    assert home.account().paused_reason is None


# The server


def test_retry_after_is_honoured(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="status", status=503, retry_after=600, times=1))
    home.work()
    delivery = home.delivery(stack_id)
    assert (delivery.state, delivery.attempts) == (DeliveryState.RETRYING, 1)
    assert delivery.next_attempt_at is not None
    assert timedelta(minutes=9) < delivery.next_attempt_at - home.clock() < timedelta(minutes=12)

    home.work(after=timedelta(minutes=9))
    assert uploads(home) == 1
    home.work(after=timedelta(minutes=3))

    assert uploads(home) == 2
    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_a_dead_server_costs_one_try_at_a_time(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(5)]
    home.crowdsky.stop()

    for _ in range(4):
        home.work(after=timedelta(seconds=1))
    attempts = [home.delivery(stack_id).attempts for stack_id in stacks]
    assert sum(attempts) == 1
    assert "out of reach" in home.delivery(stacks[0]).reason

    home.crowdsky.start()
    home.work(after=timedelta(minutes=2))
    assert {state(home, stack_id) for stack_id in stacks} == {DeliveryState.ACCEPTED}


def test_a_refused_item_is_dead_and_the_others_go_on(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(3)]
    home.crowdsky.show(
        "upload_stack", Fault(mode="status", status=422, body={"error": "Not a stack of stars."}, times=1)
    )

    home.work()

    dead = home.delivery(stacks[0])
    assert (dead.state, dead.needs_you) == (DeliveryState.DEAD, True)
    assert "Not a stack of stars." in dead.reason
    assert {state(home, stack_id) for stack_id in stacks[1:]} == {DeliveryState.ACCEPTED}
    home.work(after=DAY)
    assert uploads(home) == 3, "what was refused is not sent again by itself"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(mode="status", status=500, times=3),
        Fault(mode="html-200", times=3),
        Fault(mode="reset", after_bytes=2000, times=3),
        Fault(mode="status", status=429, times=3),
    ],
    ids=lambda fault: f"{fault.mode}-{fault.status}-{fault.after_bytes}",
)
def test_what_may_pass_is_tried_again_after_growing_waits(home: Home, fault: Fault) -> None:
    stack_id = home.add_stack(data=bytes(16_000_000))  # no socket's buffer holds it
    home.crowdsky.show("upload_stack", fault)
    waits = []
    home.work()
    for _ in range(3):
        delivery = home.delivery(stack_id)
        assert delivery.state == DeliveryState.RETRYING
        assert delivery.next_attempt_at is not None
        waits.append(delivery.next_attempt_at - home.clock())
        home.work(after=waits[-1] + timedelta(seconds=1))

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    assert waits == sorted(waits)
    assert waits[0] > timedelta(seconds=25)
    assert len(home.crowdsky.uploads) == 1


# Answers that were lost


def test_an_answer_that_was_lost_after_storing_is_found_in_the_list(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="drop-after-store", times=1))
    home.work()
    delivery = home.delivery(stack_id)
    assert (delivery.state, delivery.ask_first) == (DeliveryState.RETRYING, True)

    home.work(after=timedelta(minutes=2))

    delivery = home.delivery(stack_id)
    assert (delivery.state, delivery.server_chunk_key) == (DeliveryState.CONFIRMED, KEY)
    assert uploads(home) == 1


def test_a_lost_answer_waits_for_the_servers_queue_before_it_is_sent_again(slow_home: Home) -> None:
    stack_id = slow_home.add_stack()
    slow_home.crowdsky.show("upload_stack", Fault(mode="drop-after-store", times=1))
    slow_home.work()
    for _ in range(6):
        slow_home.work(after=timedelta(hours=2))
    assert state(slow_home, stack_id) == DeliveryState.RETRYING
    assert "does not list it so far" in slow_home.delivery(stack_id).reason
    assert uploads(slow_home) == 1

    slow_home.crowdsky.list_all_now()
    slow_home.work(after=timedelta(hours=2))

    assert state(slow_home, stack_id) == DeliveryState.CONFIRMED
    assert uploads(slow_home) == 1


def test_what_never_arrived_is_sent_once_more_after_the_deadline(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="reset", after_bytes=-1, times=1))
    home.work()
    assert home.delivery(stack_id).ask_first
    home.work(after=timedelta(hours=23))
    assert uploads(home) == 1

    home.work(after=timedelta(hours=2))

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    assert uploads(home) == 2
    assert len(home.crowdsky.uploads) == 1


@pytest.mark.parametrize("fault", [Fault(mode="html-200"), Fault(mode="status", status=500)])
def test_nothing_is_sent_again_while_the_list_cannot_be_had(home: Home, fault: Fault) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="drop-after-store", times=1))
    home.work()
    home.crowdsky.show("my_stacks", fault)

    for _ in range(5):
        home.work(after=DAY)
    assert uploads(home) == 1
    assert home.delivery(stack_id).ask_first

    home.crowdsky.show("my_stacks")
    home.work(after=DAY)
    assert state(home, stack_id) == DeliveryState.CONFIRMED
    assert uploads(home) == 1


def null_row(**known: Any) -> Fault:
    """Have the server list one row of which it says next to nothing."""
    return Fault(mode="status", status=200, body=json.dumps([{"id": 7, "chunk_key": KEY, **known}]))


def test_what_may_be_there_is_left_to_a_person_who_may_have_it_sent(home: Home) -> None:
    stack_id = home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="reset", after_bytes=-1, times=1))
    home.work()
    home.crowdsky.show("my_stacks", null_row())
    home.work(after=DAY)
    dead = home.delivery(stack_id)
    assert (dead.state, dead.needs_you) == (DeliveryState.DEAD, True)
    assert "may be this one" in dead.reason
    assert uploads(home) == 1

    home.change(dead, state=DeliveryState.PENDING, next_attempt_at=home.clock())
    home.work()

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    assert uploads(home) == 2


def test_anothers_row_with_our_key_confirms_nothing(home: Home) -> None:
    stack_id = home.add_stack()
    home.work()
    home.crowdsky.show("my_stacks", null_row(telescope_id="S50_99999999"))
    home.work(after=A_MINUTE)
    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_an_accepted_stack_that_is_never_listed_needs_a_person_and_is_not_sent_again(slow_home: Home) -> None:
    stack_id = slow_home.add_stack()
    slow_home.work()
    for _ in range(3):
        slow_home.work(after=DAY)
    delivery = slow_home.delivery(stack_id)
    assert (delivery.state, delivery.needs_you) == (DeliveryState.ACCEPTED, True)
    assert "does not list it" in delivery.reason
    assert uploads(slow_home) == 1

    slow_home.crowdsky.list_all_now()
    slow_home.work(after=DAY)

    assert (state(slow_home, stack_id), slow_home.delivery(stack_id).needs_you) == ("confirmed", False)


def test_an_answer_that_comes_after_the_worker_was_taken_for_dead_is_believed(home: Home) -> None:
    stack_id = home.add_stack()
    home.work(home.workshop(enabled=False))
    home.crowdsky.show("upload_stack", Fault(mode="delay", seconds=1.5, times=1))
    late = threading.Thread(target=deliver, args=(home.workshop(), home.delivery(stack_id).id))
    late.start()
    eventually(lambda: uploads(home) or home.crowdsky.uploads)

    home.clock.passed += timedelta(minutes=5)
    reconcile(home.workshop())
    assert home.delivery(stack_id).ask_first
    late.join()

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    assert uploads(home) == 1


# Rules


def test_no_more_than_two_go_at_a_time_whichever_process_sends_them(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(4)]
    home.work(home.workshop(enabled=False))
    home.work_on(stacks[0])  # the account works
    for stack_id in stacks[1:3]:  # in the hands of two other processes
        home.change(home.delivery(stack_id), lease_until=home.clock() + A_MINUTE)

    deliver(home.workshop(), home.delivery(stacks[3]).id)
    assert uploads(home) == 1

    home.work(after=2 * A_MINUTE)
    assert {state(home, stack_id) for stack_id in stacks} <= {DeliveryState.ACCEPTED, DeliveryState.CONFIRMED}


def test_quiet_hours_hold_files_back_and_nothing_else(home: Home) -> None:
    stack_id = home.add_stack()
    local = home.clock().astimezone(ZoneInfo("Asia/Kathmandu"))
    hours = f"{local - A_MINUTE:%H:%M}-{local + timedelta(hours=2):%H:%M}"
    home.changes["observatory"] = {"timezone": "Asia/Kathmandu"}

    home.work(home.workshop(quiet_hours=hours))
    deliver(home.workshop(quiet_hours=hours), home.delivery(stack_id).id)

    assert home.stack(stack_id).fetched_at is not None
    assert home.crowdsky.requests() == []
    home.work(home.workshop(quiet_hours=hours), after=timedelta(hours=2))
    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_a_bandwidth_limit_slows_an_upload_down(home: Home) -> None:
    stack_id = home.add_stack(data=bytes(300_000))
    workshop = home.workshop(bandwidth_limit=1000)  # kB/s
    slept: list[float] = []
    object.__setattr__(workshop, "bandwidth", Bandwidth(1_000_000, lambda: 0.0, slept.append))

    home.work(workshop)

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    assert max(slept) == pytest.approx(0.3, rel=0.1), "300 kB at 1 MB/s"


def test_a_server_that_breaks_over_every_stack_is_left_alone(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(12)]
    home.work(home.workshop(enabled=False))
    home.work_on(stacks[0])
    home.crowdsky.show("upload_stack", Fault(mode="status", status=500))

    home.work()
    assert uploads(home) == 1 + 3, "three tell that it is not the stacks"
    for _ in range(20):
        home.work(after=timedelta(minutes=10))
    assert uploads(home) < 20

    home.crowdsky.show("upload_stack")
    for _ in range(3):
        home.work(after=timedelta(hours=1))
    assert {state(home, stack_id) for stack_id in stacks} <= {DeliveryState.ACCEPTED, DeliveryState.CONFIRMED}


def test_credentials_that_a_person_entered_are_used_where_the_settings_name_none(home: Home) -> None:
    stack_id = home.add_stack()
    bare = home.workshop(username="", password="")
    home.work(bare)
    assert home.account().paused_reason is not None
    secrets = SecretStore(home.store, bare.settings.key_path)
    secrets.put("crowdsky.username", SecretStr("alice"), now=home.clock(), actor="person")
    secrets.put("crowdsky.password", SecretStr(PASSWORD), now=home.clock(), actor="person")

    home.work(bare)

    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_nothing_is_sent_where_crowdsky_is_switched_off(home: Home) -> None:
    stack_id = home.add_stack()

    home.work(home.workshop(enabled=False))

    assert home.stack(stack_id).fetched_at is not None
    assert state(home, stack_id) == DeliveryState.PENDING
    assert home.crowdsky.requests() == []


def test_a_base_url_that_is_none_pauses_the_account_and_names_the_setting(home: Home) -> None:
    stack_id = home.add_stack()

    home.work(home.workshop(username="al:ice"))

    assert "crowdsky.username" in (home.account().paused_reason or "")
    assert state(home, stack_id) == DeliveryState.PENDING
    home.work()
    assert state(home, stack_id) == DeliveryState.ACCEPTED


def test_a_damaged_file_of_ours_is_dead_and_leaves_the_account_alone(home: Home) -> None:
    stack_id, other = home.add_stack(0), home.add_stack(1)
    home.work(home.workshop(enabled=False))
    (home.folder / "data" / "archive" / str(home.stack(stack_id).archive_path)).write_bytes(b"no FITS at all")

    home.work()

    assert (state(home, stack_id), state(home, other)) == (DeliveryState.DEAD, DeliveryState.ACCEPTED)


def test_a_file_that_is_gone_here_and_on_its_telescope_waits_and_the_others_go_on(home: Home) -> None:
    stack_id, other = home.add_stack(0), home.add_stack(1)
    home.work(home.workshop(enabled=False))
    stack = home.stack(stack_id)
    (home.folder / "data" / "archive" / str(stack.archive_path)).unlink()
    (home.telescope.emmc.target_folder(stack.folder) / stack.crowdsky_name).unlink()

    home.work()

    delivery = home.delivery(stack_id)
    assert (delivery.state, state(home, other)) == (DeliveryState.PENDING, DeliveryState.ACCEPTED)
    assert "was it moved or deleted?" in delivery.reason
    assert delivery.next_attempt_at is not None


def test_no_password_comes_into_logs_or_books(
    home: Home, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    home.add_stack()
    home.crowdsky.show("upload_stack", Fault(mode="status", status=401, times=1))
    home.work()

    captured = capsys.readouterr()
    with sqlite3.connect(home.folder / "skyrelay.db") as database:
        books = "\n".join(database.iterdump())
    database.close()
    assert "was not delivered" in captured.out + captured.err + caplog.text
    assert Stack.__tablename__ in books
    assert PASSWORD not in captured.out + captured.err + caplog.text + books


def test_a_found_stack_that_whoever_made_it_has_sent_is_not_sent_again(home: Home) -> None:
    stack_id = home.add_stack(found_at=utc_now(), frames_input=0, exposure_total_s=320.0)
    stack = home.stack(stack_id)
    workshop = home.workshop()
    file = home.telescope.emmc.target_folder(stack.folder) / stack.crowdsky_name
    workshop.crowdsky(workshop.crowdsky_account()).upload_stack(StackUpload(file, stack.crowdsky_name))
    home.work()
    assert (state(home, stack_id), uploads(home)) == (DeliveryState.CONFIRMED, 1)


def test_a_found_stack_that_the_server_has_not_is_sent_without_what_nobody_knows(home: Home) -> None:
    stack_id = home.add_stack(found_at=utc_now(), frames_input=0, exposure_total_s=320.0)
    home.work()
    (sent,) = home.crowdsky.requests("upload_stack")
    assert "n_frames_input" not in sent.fields
    assert "date_obs_end" not in sent.fields
    home.work(after=A_MINUTE)
    assert state(home, stack_id) == DeliveryState.CONFIRMED


def test_a_stack_that_another_host_has_fetched_is_fetched_again_and_sent(home: Home) -> None:
    stack_id = home.add_stack()
    fetch_stack(home.workshop(), stack_id)  # into the archive of a host that dies now
    home.said.clear()
    home.changes["archive"] = {"path": str(home.folder / "archive of another host")}

    home.work()

    assert state(home, stack_id) == DeliveryState.ACCEPTED
    (sent,) = home.crowdsky.uploads
    assert sent.thumbnail_as is not None


def test_a_disk_that_fails_is_booked_with_the_stack_and_the_stack_tried_again(home: Home) -> None:
    stack_id = home.add_stack()
    fetch_stack(home.workshop(), stack_id)
    home.said.clear()
    home.changes["archive"] = {"path": str(home.folder / "archive of another host")}

    home.work(replace(home.workshop(), free_bytes=fail_to_read))

    delivery = home.delivery(stack_id)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    assert "Input/output error" in delivery.reason
    home.work(after=timedelta(hours=1))
    assert state(home, stack_id) in {DeliveryState.ACCEPTED, DeliveryState.CONFIRMED}


def test_a_disk_that_fails_while_a_stack_is_fetched_is_booked_too(home: Home) -> None:
    stack_id = home.add_stack()

    home.work(replace(home.workshop(), free_bytes=fail_to_read))

    with home.store.read() as session:
        stack = session.get_one(Stack, stack_id)
    assert stack.fetch_attempts == 1
    assert "Input/output error" in (stack.fetch_error or "")
    assert stack.fetch_lease_until is None


def fail_to_read(_: Path) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_stack_that_is_neither_in_this_archive_nor_the_same_on_its_telescope_is_not_sent(
    home: Home,
) -> None:
    stack_id = home.add_stack()
    fetch_stack(home.workshop(), stack_id)
    home.said.clear()
    home.changes["archive"] = {"path": str(home.folder / "archive of another host")}
    with home.store.write() as session:
        session.get_one(Stack, stack_id).sha256 = "0" * 64

    home.work()

    delivery = home.delivery(stack_id)
    assert uploads(home) == 0
    assert (delivery.state, delivery.needs_you) == (DeliveryState.DEAD, True)
    assert "is not in this archive" in delivery.reason
