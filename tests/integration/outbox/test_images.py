"""Images on their way to a node cloud, each after its measurement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.fits_compare import tells_place
from skyrelay.outbox.images import image_name, send_due_image
from skyrelay.outbox.measurements import FIRST_TRY
from skyrelay_simulators.cloud import Fault
from support.fits_files import fits_bytes
from support.node_cloud import NodeAndCloud, payload
from support.waiting import eventually

CONFIRMED, RETRYING, DEAD = DeliveryState.CONFIRMED, DeliveryState.RETRYING, DeliveryState.DEAD
A_MINUTE = timedelta(minutes=1)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Give a FITS file that tells where it was taken."""
    file = tmp_path / "T CrB.fit"
    file.write_bytes(fits_bytes(bytes(5760), SITELAT=48.2, SITELONG=16.4))
    return file


@pytest.fixture
def early(node: NodeAndCloud) -> NodeAndCloud:
    """Give the same at half past noon (UTC), so that no day ends in the middle of a test."""
    now = datetime.now(UTC)
    node.passed = now.replace(hour=12, minute=30) - now + timedelta(days=1)
    return node


def states(node: NodeAndCloud) -> list[str]:
    return [delivery.state for delivery in node.deliveries(DeliveryKind.IMAGE)]


def test_an_image_is_owed_once_the_cloud_has_its_measurement(node: NodeAndCloud, image: Path) -> None:
    node.put(image=image)
    assert states(node) == []
    assert not node.send_image()

    node.drain()
    assert states(node) == [DeliveryState.PENDING]
    assert node.send_image()

    (delivery,), (stored,) = node.deliveries(DeliveryKind.IMAGE), node.cloud.images
    assert (delivery.state, delivery.attempts) == (CONFIRMED, 1)
    assert delivery.server_id == f"raw_images/garden/{stored.day}/{stored.name}"
    assert stored.name == image_name("T CrB.fit", payload()).replace(" ", "_")
    assert not node.send_image(), "once"


def test_a_refused_measurement_sends_no_image(node: NodeAndCloud, image: Path) -> None:
    node.put(payload(magnitude=99.0), image=image)
    node.drain()
    assert node.states() == [DEAD]
    assert not node.send_image()
    assert node.cloud.requests("images") == []


@pytest.mark.parametrize("scrub", [True, False])
def test_coordinates_stay_at_home_unless_their_owner_shares_them(
    node: NodeAndCloud, image: Path, tmp_path: Path, scrub: bool
) -> None:
    node.put(image=image)
    node.drain()
    node.send_image(scrub=scrub)

    copy = tmp_path / "copy.fit"
    copy.write_bytes(node.cloud.stored_bytes(node.cloud.images[0]))
    assert tells_place(copy) is not scrub
    assert len(copy.read_bytes()) == image.stat().st_size


def test_images_of_one_name_do_not_overwrite_each_other(node: NodeAndCloud, image: Path) -> None:
    for number in range(3):
        node.put(payload(number), image=image)
    node.drain()

    while node.send_image():
        pass

    assert states(node) == [CONFIRMED] * 3
    assert len(node.cloud.images) == 3


def test_trouble_is_tried_again(early: NodeAndCloud, image: Path) -> None:
    early.put(image=image)
    early.drain()
    early.cloud.show("images", Fault(mode="status", status=503, times=1))
    early.send_image()
    assert states(early) == [RETRYING]

    early.send_image(after=2 * A_MINUTE)

    assert states(early) == [CONFIRMED]


def test_an_image_that_is_refused_is_dead_and_the_next_one_goes(node: NodeAndCloud, image: Path) -> None:
    for number in range(2):
        node.put(payload(number), image=image)
    node.drain()
    node.cloud.show("images", Fault(mode="status", status=400, body={"error": "image rejected"}, times=1))

    while node.send_image():
        pass

    assert states(node) == [DEAD, CONFIRMED]
    assert "image rejected" in node.deliveries(DeliveryKind.IMAGE)[0].reason


def test_a_file_that_is_gone_is_dead_and_says_so(node: NodeAndCloud, image: Path) -> None:
    node.put(image=image)
    node.drain()
    image.unlink()

    node.send_image()

    (delivery,) = node.deliveries(DeliveryKind.IMAGE)
    assert (delivery.state, delivery.needs_you) == (DEAD, True)
    assert "T CrB.fit cannot be opened" in delivery.reason


def test_a_file_whose_header_cannot_be_cleaned_does_not_leave(node: NodeAndCloud, image: Path) -> None:
    image.write_bytes(b"no FITS at all")
    node.put(image=image)
    node.drain()
    node.send_image()
    assert states(node) == [DEAD]
    assert node.cloud.requests("images") == []


def test_a_lost_answer_is_sent_again_on_the_same_day_and_takes_the_same_place(
    early: NodeAndCloud, image: Path
) -> None:
    early.put(image=image)
    early.drain()
    early.cloud.show("images", Fault(mode="drop-after-store", times=1))
    early.send_image()
    (delivery,) = early.deliveries(DeliveryKind.IMAGE)
    assert (delivery.state, delivery.ask_first) == (RETRYING, True)

    early.send_image(after=5 * A_MINUTE)

    assert states(early) == [CONFIRMED]
    assert [stored.times_sent for stored in early.cloud.images] == [2]


def test_a_lost_answer_is_left_to_a_person_on_another_day(early: NodeAndCloud, image: Path) -> None:
    early.put(image=image)
    early.drain()
    early.cloud.show("images", Fault(mode="drop-after-store", times=1))
    early.send_image()

    assert not early.send_image(after=timedelta(days=1))

    (delivery,) = early.deliveries(DeliveryKind.IMAGE)
    assert (delivery.state, delivery.needs_you) == (DEAD, True)
    assert "cannot be asked whether it has it" in delivery.reason
    assert len(early.cloud.requests("images")) == 1


def test_a_sender_that_died_is_followed_by_another(early: NodeAndCloud, image: Path) -> None:
    early.put(image=image, first_try=FIRST_TRY)
    early.drain(after=2 * FIRST_TRY)
    with early.store.write() as session:
        (delivery,) = early.deliveries(DeliveryKind.IMAGE)
        row = session.merge(delivery)
        row.state, row.sent_at = DeliveryState.SENDING, early.clock()
        row.lease_until = early.clock() + timedelta(seconds=90)
    assert not early.send_image(after=A_MINUTE)

    assert early.send_image(after=A_MINUTE)

    assert states(early) == [CONFIRMED]


def test_a_slow_upload_keeps_its_lease(node: NodeAndCloud, image: Path) -> None:
    node.put(image=image)
    node.drain()
    ends: list[datetime | None] = []

    def send(_file: Path, _name: str) -> str | None:
        ends.append(lease())
        eventually(lambda: lease() != ends[0])
        ends.append(lease())
        return None

    def lease() -> datetime | None:
        return node.deliveries(DeliveryKind.IMAGE)[0].lease_until

    often = timedelta(milliseconds=20)
    send_due_image(node.store, node.account, send, clock=node.clock, renew_every=often)

    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[1] > ends[0]
    assert states(node) == [CONFIRMED]
