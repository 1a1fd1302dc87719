"""Measurements on their way to a node cloud, with each of its failures."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from skyrelay.cloud.client import CloudClient, CloudReceipt
from skyrelay.cloud.errors import CloudAway, ItemRefused
from skyrelay.domain.states import DeliveryState
from skyrelay.outbox.draining import Drained, send_due_measurements
from skyrelay.outbox.measurements import FIRST_TRY, book_accepted, book_refused, count_waiting
from skyrelay.outbox.outcomes import GIVE_UP_AFTER_FAULTS, LONGEST_DELAY
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Measurement
from skyrelay_simulators.cloud import Fault
from support.node_cloud import NodeAndCloud, payload, revoked

A_MINUTE, AN_HOUR = timedelta(minutes=1), timedelta(hours=1)
CONFIRMED, RETRYING, DEAD = DeliveryState.CONFIRMED, DeliveryState.RETRYING, DeliveryState.DEAD


# The first try, by whoever submits


def test_a_measurement_that_is_taken_at_once_is_confirmed(node: NodeAndCloud) -> None:
    ticket = node.put(first_try=FIRST_TRY)
    assert node.states() == [DeliveryState.SENDING]

    with CloudClient(node.cloud.base_url) as client:
        receipt = client.send_measurement(node.credentials, payload())
    book_accepted(node.store, node.account, ticket, receipt, node.clock())

    (delivery,) = node.deliveries()
    assert (delivery.state, delivery.server_id, delivery.attempts) == (CONFIRMED, "1", 1)
    assert delivery.lease_until is None
    assert node.steps(delivery.id) == [CONFIRMED]


def test_nobody_else_sends_it_while_its_first_try_may_still_come_back(node: NodeAndCloud) -> None:
    node.put(first_try=FIRST_TRY)

    assert node.drain() == [Drained()]
    node.drain(after=FIRST_TRY - timedelta(seconds=10))

    assert (node.requests(), node.states()) == (0, [DeliveryState.SENDING])


def test_one_whose_process_died_is_sent_when_its_lease_is_over(node: NodeAndCloud) -> None:
    node.put(first_try=FIRST_TRY)

    node.drain(after=FIRST_TRY + timedelta(seconds=1))

    (delivery,) = node.deliveries()
    assert node.steps(delivery.id) == [RETRYING, DeliveryState.SENDING, CONFIRMED]
    assert node.requests() == 1


def test_a_first_try_that_fails_leaves_it_to_the_queue(node: NodeAndCloud) -> None:
    ticket = node.put(first_try=FIRST_TRY)

    book_refused(node.store, node.account, ticket, CloudAway("no connection"), node.clock())

    (delivery,) = node.deliveries()
    assert (delivery.state, delivery.reason, delivery.attempts) == (RETRYING, "no connection", 1)
    node.drain(after=2 * A_MINUTE)
    assert node.states() == [CONFIRMED]


def test_an_answer_that_comes_after_it_was_taken_for_dead_is_believed(node: NodeAndCloud) -> None:
    ticket = node.put(first_try=FIRST_TRY)
    node.cloud.show("measurements", Fault(mode="status", status=503, retry_after=3600))
    node.drain(after=2 * FIRST_TRY)
    assert node.states() == [RETRYING]

    late = replace(ticket, sent_at=node.deliveries()[0].sent_at)
    book_accepted(node.store, node.account, late, CloudReceipt("7"), node.clock())

    assert (node.states(), node.deliveries()[0].server_id) == ([CONFIRMED], "7")


def test_an_answer_to_an_earlier_try_changes_nothing(node: NodeAndCloud) -> None:
    ticket = node.put(first_try=FIRST_TRY)
    node.drain(after=2 * FIRST_TRY)

    book_refused(node.store, node.account, ticket, ItemRefused("no"), node.clock())

    assert node.states() == [CONFIRMED]


def test_it_is_sent_as_it_was_written_to_the_last_digit(node: NodeAndCloud) -> None:
    text = payload().replace("2460761.5", "2460761.50000000010")
    node.put(text)
    with node.store.read() as session:
        stored = session.get_one(Measurement, 1)

    sent: list[str] = []

    def send(given: str) -> CloudReceipt:
        sent.append(given)
        return CloudReceipt()

    send_due_measurements(node.store, node.account, send, clock=node.clock)

    assert sent == [text]
    assert (stored.bjd, stored.target, stored.filter) == ("2460761.50000000010", "T CrB", "TG")


# The queue


def test_a_backlog_goes_out_oldest_first(node: NodeAndCloud) -> None:
    for number in range(25):
        node.put(payload(number))

    node.drain(most=10)

    assert set(node.states()) == {CONFIRMED}
    assert node.arrived() == sorted(node.arrived())
    assert [delivery.server_id for delivery in node.deliveries()] == [str(n) for n in range(1, 26)]
    assert node.requests() == 25


def test_what_the_cloud_has_already_is_confirmed(node: NodeAndCloud) -> None:
    node.put()
    node.put()

    node.drain()

    assert [delivery.reason for delivery in node.deliveries()] == [
        "the cloud has it",
        "the cloud had it already",
    ]
    assert len(node.cloud.measurements) == 1


def test_a_cap_pushes_the_oldest_out_as_dead_rows(node: NodeAndCloud) -> None:
    for number in range(8):
        node.put(payload(number), queue_max=5)

    assert node.states() == [DEAD] * 3 + [DeliveryState.PENDING] * 5
    oldest = node.deliveries()[0]
    assert oldest.needs_you
    assert "cloud.queue_max is 5" in oldest.reason
    with node.store.read() as session:
        assert count_waiting(session) == 5


def test_a_cap_leaves_alone_what_is_being_sent(node: NodeAndCloud) -> None:
    node.put(payload(0), first_try=FIRST_TRY)
    node.put(payload(1), queue_max=1)
    assert node.states() == [DeliveryState.SENDING, DeliveryState.PENDING]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (payload(magnitude=None), "magnitude must be a number"),
        (payload(bjd="2460761.5"), "bjd must be a number"),
        (payload(magnitude=float("nan")), "NaN is no number"),
        (payload(target_name=7), "target_name must be a text"),
        (payload(snr="12"), "snr must be a number"),
        ("{}", "no object `measurement`"),
        ("no JSON", "no JSON"),
    ],
)
def test_what_would_break_the_cloud_is_kept_as_dead_and_never_sent(
    node: NodeAndCloud, text: str, words: str
) -> None:
    ticket = node.put(text, first_try=FIRST_TRY)
    node.put(payload(1))

    node.drain(after=AN_HOUR)

    assert ticket.problem is not None
    assert words in ticket.problem
    assert node.states() == [DEAD, CONFIRMED]
    assert node.requests() == 1


def test_an_outbox_works_on_a_database_file_of_its_own(node: NodeAndCloud, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'data' / 'cloud_outbox.db'}")
    migrate(store)
    alone = replace(node, store=store)
    alone.put()

    alone.drain()

    assert (alone.states(), node.states()) == ([CONFIRMED], [])
    store.close()


# The outcomes, one by one


@pytest.mark.parametrize(
    "fault",
    [
        Fault(mode="status", status=502, times=1),
        Fault(mode="status", status=503, times=1),
        Fault(mode="status", status=429, times=1),
        Fault(mode="html-200", times=1),
        Fault(mode="reset", times=1),
    ],
    ids=lambda fault: f"{fault.mode}-{fault.status}",
)
def test_trouble_with_the_line_holds_all_back_after_one_request(node: NodeAndCloud, fault: Fault) -> None:
    node.put(payload(0))
    node.drain()  # the account works
    for number in range(1, 6):
        node.put(payload(number))
    node.cloud.show("measurements", fault)

    node.drain()
    assert node.requests() == 2
    assert node.states() == [CONFIRMED] + [RETRYING] * 5
    assert [delivery.attempts for delivery in node.deliveries()] == [1, 1, 0, 0, 0, 0]

    node.drain(after=5 * A_MINUTE)
    assert node.states() == [CONFIRMED] * 6


def test_a_dead_cloud_costs_one_request_at_a_time_and_rarer_ones(node: NodeAndCloud) -> None:
    for number in range(50):
        node.put(payload(number))
    node.cloud.show("measurements", Fault(mode="status", status=503))

    asked = []
    for _ in range(80):  # four hours, looked at every three minutes
        node.drain(after=3 * A_MINUTE)
        asked.append(node.requests())

    assert asked[0] == 1
    assert asked[-1] <= 12
    assert node.row().failures == asked[-1]
    assert node.row().trouble is not None
    node.cloud.show("measurements")
    node.drain(after=LONGEST_DELAY)
    node.drain(after=LONGEST_DELAY)  # those that were tried before the end wait for their own time
    assert set(node.states()) == {CONFIRMED}
    assert len(node.cloud.measurements) == 50


def test_retry_after_is_honoured(node: NodeAndCloud) -> None:
    node.put()
    node.cloud.show("measurements", Fault(mode="status", status=503, retry_after=1200, times=1))
    node.drain()

    node.drain(after=19 * A_MINUTE)
    assert node.requests() == 1
    node.drain(after=4 * A_MINUTE)

    assert (node.requests(), node.states()) == (2, [CONFIRMED])


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_refused_one_is_dead_in_the_clouds_words_and_the_others_go_on(
    node: NodeAndCloud, status: int
) -> None:
    for number in range(3):
        node.put(payload(number))
    refusal = Fault(mode="status", status=status, body={"error": "magnitude out of bounds"}, times=1)
    node.cloud.show("measurements", refusal)

    node.drain()
    node.drain(after=AN_HOUR)

    assert node.states() == [DEAD, CONFIRMED, CONFIRMED]
    dead = node.deliveries()[0]
    assert dead.needs_you
    assert "magnitude out of bounds" in dead.reason
    assert node.requests() == 3


def test_a_refusal_with_status_200_is_one_too(node: NodeAndCloud) -> None:
    node.put()
    node.cloud.show("measurements", Fault(mode="status", status=200, body={"ok": False, "error": "no"}))
    node.drain()
    assert node.states() == [DEAD]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_pause_the_account_until_they_change(node: NodeAndCloud, status: int) -> None:
    for number in range(3):
        node.put(payload(number))
    node.cloud.show("measurements", Fault(mode="status", status=status))

    for _ in range(5):
        node.drain(after=12 * AN_HOUR)
    assert node.requests() == 1
    assert node.row().paused_reason is not None
    assert [delivery.attempts for delivery in node.deliveries()] == [0, 0, 0]

    node.cloud.show("measurements")
    node.drain(after=AN_HOUR)
    assert node.requests() == 1, "the same credentials are not tried again"
    assert node.credentials.api_key.get_secret_value() not in (node.row().credentials_digest or "")

    renewed = replace(node, credentials=revoked(node.credentials))
    renewed.drain(after=AN_HOUR)
    assert node.requests() == 2, "other ones are, once"
    node.drain(after=2 * AN_HOUR)
    assert node.states() == [CONFIRMED] * 3


def test_an_address_that_is_not_the_clouds_pauses_the_account_and_is_probed_later(node: NodeAndCloud) -> None:
    node.put()
    node.cloud.show("measurements", Fault(mode="status", status=404, times=1))
    node.drain()
    assert "404" in (node.row().paused_reason or "")
    node.drain(after=30 * A_MINUTE)
    assert node.requests() == 1

    node.drain(after=31 * A_MINUTE)

    assert (node.states(), node.row().paused_reason) == ([CONFIRMED], None)


def test_a_lost_answer_is_asked_for_again_and_nothing_is_there_twice(node: NodeAndCloud) -> None:
    for number in range(3):
        node.put(payload(number))
    node.cloud.show("measurements", Fault(mode="drop-after-store", times=1))
    node.drain()

    node.drain(after=5 * A_MINUTE)

    assert node.states() == [CONFIRMED] * 3
    assert node.deliveries()[0].reason == "the cloud had it already"
    assert len(node.cloud.measurements) == 3


def test_one_that_breaks_the_cloud_blocks_nobody_and_is_given_up_while_others_pass(
    node: NodeAndCloud,
) -> None:
    node.put(payload(0))
    node.drain()
    poison = node.put(payload(1))
    for number in range(2, 30):
        node.cloud.show("measurements", Fault(mode="status", status=500, times=1))
        if node.deliveries()[1].state == DEAD:
            break
        node.put(payload(number))
        node.drain(after=LONGEST_DELAY + A_MINUTE)

    states = node.states()
    assert states[1] == DEAD
    assert set(states[:1] + states[2:]) == {CONFIRMED}
    dead = node.deliveries()[1]
    assert dead.id == poison.delivery_id
    assert dead.item_faults < GIVE_UP_AFTER_FAULTS, "the last one is in the reason"
    assert f"given up after {GIVE_UP_AFTER_FAULTS} such answers while others pass" in dead.reason


def test_a_cloud_that_breaks_over_everything_gives_up_nothing(node: NodeAndCloud) -> None:
    node.put(payload(0))
    node.drain()
    for number in range(1, 5):
        node.put(payload(number))
    node.cloud.show("measurements", Fault(mode="status", status=500))

    for _ in range(60):
        node.drain(after=AN_HOUR)

    assert DEAD not in node.states()
    node.cloud.show("measurements")
    for _ in range(3):
        node.drain(after=AN_HOUR)
    assert set(node.states()) == {CONFIRMED}


# Several at work


def test_two_that_drain_at_once_send_nothing_twice(node: NodeAndCloud) -> None:
    for number in range(60):
        node.put(payload(number))
    node.drain(most=1)
    threads = [threading.Thread(target=node.drain, kwargs={"most": 7}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert set(node.states()) == {CONFIRMED}
    assert node.requests() == 60


def test_no_key_comes_into_the_books(node: NodeAndCloud, tmp_path: Path) -> None:
    key = node.credentials.api_key.get_secret_value()
    node.put()
    node.cloud.show("measurements", Fault(mode="status", status=401, body={"error": f"bad key {key}"}))

    node.drain()

    with node.store.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        books = "\n".join(driver.iterdump())
    assert "bad key" in books
    assert key not in books
