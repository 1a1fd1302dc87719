"""Stacks on their way from a telescope into the archive."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from skyrelay.domain.states import DeliveryState
from skyrelay_simulators.telescope.http_files import send_part
from skyrelay_uploader.fetching import bring, claim_fetch, fetch_stack

from .conftest import JPEG, NOON, Home

NAME = "CrowdSky_2_M 94_10.0s_IRCUT_20250327.05_HP033810"
PLACE = f"garden/M 94/{NAME}"


def archive_of(home: Home) -> Path:
    return home.folder / "data" / "archive"


def test_a_stack_and_its_picture_come_into_the_archive_whole(home: Home) -> None:
    stack_id = home.add_stack()
    original = (home.telescope.emmc.root / "MyWorks" / "M 94" / f"{NAME}.fit").read_bytes()

    fetch_stack(home.workshop(), stack_id)

    stack = home.stack(stack_id)
    assert home.archived() == [f"{PLACE}.fit", f"{PLACE}_thn.jpg"]
    assert (archive_of(home) / f"{PLACE}.fit").read_bytes() == original
    assert (archive_of(home) / f"{PLACE}_thn.jpg").read_bytes() == JPEG
    assert (stack.archive_path, stack.thumbnail_path) == (f"{PLACE}.fit", f"{PLACE}_thn.jpg")
    assert (stack.sha256, stack.size_bytes) == (hashlib.sha256(original).hexdigest(), len(original))
    assert stack.fetched_at is not None
    assert stack.fetch_lease_until is None
    assert [entry.event for entry in home.audit("stack")] == ["fetched"]
    assert not list((archive_of(home) / ".arriving").iterdir())


def test_a_stack_that_keeps_its_own_name_is_fetched_under_its_crowdsky_name(home: Home) -> None:
    stack_id = home.add_stack(renamed_at=None)

    fetch_stack(home.workshop(), stack_id)

    assert home.stack(stack_id).archive_path == f"{PLACE}.fit"
    assert home.stack(stack_id).thumbnail_path == f"{PLACE}_thn.jpg"


def test_a_stack_that_is_renamed_before_the_books_say_so_is_found(home: Home) -> None:
    stack_id = home.add_stack()
    home.change(home.stack(stack_id), renamed_at=None)

    fetch_stack(home.workshop(), stack_id)

    assert home.stack(stack_id).fetched_at is not None


def without_pictures(home: Home, **stack: Any) -> int:
    """Lay a stack on the telescope, and no picture of it."""
    stack_id = home.add_stack(**stack)
    for picture in home.telescope.emmc.root.rglob("*.jpg"):
        picture.unlink()
    return stack_id


def test_a_stack_without_pictures_gets_a_thumbnail_of_ours(home: Home) -> None:
    stack_id = without_pictures(home, data=bytes(range(64)))

    fetch_stack(home.workshop(), stack_id)

    stack = home.stack(stack_id)
    assert home.archived() == [f"{PLACE}.fit", f"{PLACE}_thn.jpg"]
    assert (stack.picture_path, stack.thumbnail_path) == (None, f"{PLACE}_thn.jpg")
    content = (archive_of(home) / f"{PLACE}_thn.jpg").read_bytes()
    assert stack.thumbnail_sha256 == hashlib.sha256(content).hexdigest()
    with Image.open(BytesIO(content)) as image:
        assert (image.format, image.size) == ("JPEG", (32, 1))


def test_a_stack_that_nothing_can_be_seen_of_is_fetched_all_the_same(home: Home) -> None:
    stack_id = without_pictures(home, data=b"")

    fetch_stack(home.workshop(), stack_id)

    assert home.archived() == [f"{PLACE}.fit"]
    assert home.stack(stack_id).thumbnail_path is None


def test_the_telescopes_jpeg_comes_too_and_a_thumbnail_is_made_of_it(home: Home) -> None:
    stack_id = home.add_stack()
    home.lay("M 94", f"{NAME}_thn.jpg", b"<html>not found</html>")  # what only calls itself a picture
    picture = BytesIO()
    Image.new("RGB", (1080, 1920), "navy").save(picture, "JPEG")
    home.lay("M 94", f"{NAME}.jpg", picture.getvalue())

    fetch_stack(home.workshop(), stack_id)

    stack = home.stack(stack_id)
    assert (stack.picture_path, stack.thumbnail_path) == (f"{PLACE}.jpg", f"{PLACE}_thn.jpg")
    assert stack.picture_sha256 == hashlib.sha256(picture.getvalue()).hexdigest()
    assert (archive_of(home) / f"{PLACE}.jpg").read_bytes() == picture.getvalue()
    with Image.open(archive_of(home) / f"{PLACE}_thn.jpg") as image:
        assert image.size == (270, 480)


def test_fetching_twice_changes_nothing(home: Home) -> None:
    stack_id = home.add_stack()
    fetch_stack(home.workshop(), stack_id)
    once = home.stack(stack_id).fetched_at

    fetch_stack(home.workshop(), stack_id)

    assert home.stack(stack_id).fetched_at == once
    assert len(home.audit("stack")) == 1


def test_a_worker_that_died_before_it_said_so_leaves_no_second_copy(home: Home) -> None:
    stack_id = home.add_stack()
    workshop = home.workshop()
    job = claim_fetch(workshop, stack_id)
    assert job is not None
    bring(workshop, job)  # and then the power went

    home.work(workshop, after=timedelta(minutes=2))

    assert home.archived() == [f"{PLACE}.fit", f"{PLACE}_thn.jpg"]
    assert home.stack(stack_id).fetched_at is not None


def test_two_stacks_of_one_name_are_both_kept(home: Home) -> None:
    taken = archive_of(home) / f"{PLACE}.fit"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"the owner's own")
    stack_id = home.add_stack()

    fetch_stack(home.workshop(), stack_id)

    assert taken.read_bytes() == b"the owner's own"
    assert home.stack(stack_id).archive_path == f"{PLACE}_2.fit"


def test_a_truncated_download_never_lands_in_the_archive_and_is_resumed(home: Home) -> None:
    stack_id = home.add_stack(data=bytes(400_000))

    async def break_off(writer: asyncio.StreamWriter, path: Path, start: int, length: int) -> None:
        await send_part(writer, path, start, 0 if start else 100_000)
        writer.close()

    home.telescope.files.send_body = break_off
    fetch_stack(home.workshop(), stack_id)
    broken = home.stack(stack_id)

    assert home.archived() == []
    assert broken.fetched_at is None
    assert "broke off after 100000 bytes" in (broken.fetch_error or "")
    assert broken.next_fetch_at is not None
    assert home.delivery(stack_id).state == DeliveryState.PENDING
    assert "not fetched yet" in home.delivery(stack_id).reason

    home.telescope.files.send_body = send_part
    home.work(after=NOON)

    assert home.stack(stack_id).fetched_at is not None
    asked = [entry.params["range"] for entry in home.telescope.journal.entries(channel="http")]
    assert "bytes=100000-" in asked
    assert home.delivery(stack_id).state == DeliveryState.ACCEPTED


def test_a_stack_shorter_than_its_listing_is_not_taken(home: Home) -> None:
    stack_id = home.add_stack(size_bytes=999_999)

    fetch_stack(home.workshop(), stack_id)

    assert home.archived() == []
    assert "its listing says 999999" in (home.stack(stack_id).fetch_error or "")


def test_a_telescope_that_is_away_is_asked_for_ever_and_never_buries_anything(home: Home) -> None:
    first, second = home.add_stack(0), home.add_stack(1)
    home.telescope.stop()

    for _ in range(20):
        home.work(after=timedelta(minutes=6))

    stack = home.stack(first)
    assert stack.fetch_attempts == 20
    assert "tried again by itself until the telescope is back" in (stack.fetch_error or "")
    assert stack.next_fetch_at is not None
    assert stack.next_fetch_at - home.clock() <= timedelta(minutes=5)
    assert home.stack(second).fetch_attempts == 0, "one try tells for all stacks of a telescope"
    assert home.delivery(first).state == DeliveryState.PENDING
    assert not home.delivery(first).needs_you


def test_a_stack_that_is_gone_needs_a_person_after_a_few_tries(home: Home) -> None:
    stack_id = home.add_stack()
    (home.telescope.emmc.root / "MyWorks" / "M 94" / f"{NAME}.fit").unlink()

    for _ in range(4):
        home.work(after=NOON)

    assert "was it moved or deleted?" in (home.stack(stack_id).fetch_error or "")
    assert home.delivery(stack_id).needs_you


def test_hostile_names_stay_inside_the_archive(home: Home) -> None:
    stack_id = home.add_stack(
        target="../../../etc",
        folder="M 94",
        crowdsky_name="../../../../tmp/evil.fit",
        original_name="DSO_Stacked_2_M 94_10.0s_20250326_213200.fit",
        renamed_at=None,
    )

    fetch_stack(home.workshop(), stack_id)

    assert home.stack(stack_id).archive_path == "garden/_.._.._.._etc/_.._.._.._.._tmp_evil.fit"
    assert len(home.archived()) == 2


def test_a_full_archive_is_said_and_tried_again(home: Home) -> None:
    stack_id = home.add_stack()
    archive_of(home).mkdir(parents=True)
    (archive_of(home) / "garden").write_text("a file where a folder should be", encoding="utf-8")

    fetch_stack(home.workshop(), stack_id)

    assert "the archive" in (home.stack(stack_id).fetch_error or "")
    assert home.stack(stack_id).next_fetch_at is not None


def test_nothing_is_fetched_before_the_set_up_is_done(home: Home) -> None:
    stack_id = home.add_stack()
    home.changes["setup"] = "ask"

    home.work()
    fetch_stack(home.workshop(), stack_id)

    assert home.stack(stack_id).fetch_attempts == 0
    assert home.stack(stack_id).fetched_at is None
    assert home.telescope.journal.entries() == []
