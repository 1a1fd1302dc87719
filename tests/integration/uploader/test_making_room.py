"""Room in the archive: a floor that is kept, and a disk that is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from skyrelay.domain.states import DeliveryState
from skyrelay.store.tables import Destination
from skyrelay_uploader.making_room import LEAST_FREE
from skyrelay_uploader.workshop import Workshop

from .conftest import Home

A_MINUTE = timedelta(minutes=1)
GB = 10**9


def disk_of(home: Home, size: int) -> Callable[[Path], int]:
    """Pretend that the archive lies on a disk of that size with nothing else on it."""
    root = home.folder / "data" / "archive"

    def free(_folder: Path) -> int:
        files = [path for path in root.rglob("*.fit") if path.is_file()] if root.exists() else []
        return size - sum(path.stat().st_size for path in files)

    return free


def deliver_all(home: Home, workshop: Workshop | None = None) -> None:
    home.work(workshop)
    home.work(workshop, after=A_MINUTE)


def removed(home: Home, stacks: list[int]) -> list[bool]:
    return [home.stack(stack_id).removed_at is not None for stack_id in stacks]


def with_floor(home: Home, floor_gb: object, free_bytes: Callable[[Path], int]) -> Workshop:
    home.changes["archive"] = {"reserve_gb": floor_gb}
    return replace(home.workshop(), free_bytes=free_bytes)


def test_everything_is_kept_where_no_floor_is_set(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(3)]
    deliver_all(home)
    home.work(replace(home.workshop(), free_bytes=lambda _: 2 * LEAST_FREE), after=A_MINUTE)
    assert removed(home, stacks) == [False] * 3


def test_the_oldest_delivered_stacks_go_until_the_floor_is_free(home: Home) -> None:
    stacks = [home.add_stack(number, data=bytes(1_000_000)) for number in range(5)]
    deliver_all(home)
    size = home.stack(stacks[0]).size_bytes or 0
    floor = 2 * GB
    disk = disk_of(home, floor + 3 * size)  # room for three above the floor

    home.work(with_floor(home, floor / GB, disk), after=A_MINUTE)

    assert removed(home, stacks) == [True, True, False, False, False]
    assert [name for name in home.archived() if name.endswith(".fit")] == [
        home.stack(stack_id).archive_path for stack_id in stacks[2:]
    ]
    assert len([name for name in home.archived() if name.endswith("_thn.jpg")]) == 5, "pictures stay"
    entries = [entry for entry in home.audit("stack") if entry.event == "removed from the archive"]
    assert [entry.subject_id for entry in entries] == stacks[:2]
    assert all(entry.detail and entry.detail["sha256"] for entry in entries)


@pytest.mark.parametrize("state", [state for state in DeliveryState if state != DeliveryState.CONFIRMED])
def test_what_is_not_confirmed_never_goes(home: Home, state: DeliveryState) -> None:
    stacks = [home.add_stack(number) for number in range(2)]
    deliver_all(home)
    home.change(home.delivery(stacks[0]), state=state, next_attempt_at=home.clock() + timedelta(days=99))

    home.work(with_floor(home, 1e9, lambda _: GB))

    assert removed(home, stacks) == [False, True]


def test_one_that_is_owed_to_nobody_never_goes(home: Home) -> None:
    stack_id = home.add_stack()
    deliver_all(home)
    with home.store.write() as session:
        session.delete(session.merge(home.delivery(stack_id)))
    home.work(with_floor(home, 1e9, lambda _: GB))
    assert removed(home, [stack_id]) == [False]


def test_a_floor_may_be_one_telescopes(home: Home) -> None:
    stack_id = home.add_stack()
    deliver_all(home)
    other = {**home.configuration()["telescopes"][0], "name": "roof", "rpc_port": 4701}
    home.changes["telescopes"] = [home.configuration()["telescopes"][0], other]

    home.work(with_floor(home, {"roof": 1e9}, lambda _: GB))
    assert removed(home, [stack_id]) == [False]
    home.work(with_floor(home, {"garden": 1e9}, lambda _: GB))
    assert removed(home, [stack_id]) == [True]


def test_a_file_that_a_kill_left_behind_is_deleted_by_the_next(home: Home) -> None:
    stack_id = home.add_stack()
    deliver_all(home)
    path = str(home.stack(stack_id).archive_path)
    home.change(home.stack(stack_id), removed_at=home.clock())  # and then the power went
    assert path in home.archived()

    home.work()

    assert path not in home.archived()
    assert home.stack(stack_id).archive_path is None


def test_room_is_made_before_a_stack_is_fetched(home: Home) -> None:
    old = home.add_stack(0, data=bytes(1_000_000))
    deliver_all(home)
    size = home.stack(old).size_bytes or 0
    new = home.add_stack(1, data=bytes(1_000_000))
    disk = disk_of(home, GB + int(1.5 * size))

    home.work(with_floor(home, 1.0, disk))

    assert home.stack(new).fetched_at is not None
    assert removed(home, [old, new]) == [True, False]
    assert disk(home.folder) >= GB


def test_a_floor_that_nothing_may_go_for_leaves_stacks_on_their_telescope_and_says_so(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(3)]

    home.work(with_floor(home, 5.0, lambda _: GB))

    assert home.archived() == []
    waiting = home.delivery(stacks[0])
    assert waiting.needs_you
    assert "archive.reserve_gb asks for 5.0 GB" in waiting.reason
    assert home.stack(stacks[2]).fetch_attempts == 0, "one tells for all of a telescope"
    home.changes["archive"] = {"reserve_gb": 0}
    home.work(home.workshop(), after=timedelta(minutes=6))
    assert home.stack(stacks[0]).fetched_at is not None
    assert not home.delivery(stacks[0]).needs_you


def test_a_full_disk_pauses_fetching_and_room_ends_the_pause(home: Home) -> None:
    stacks = [home.add_stack(number) for number in range(3)]
    full = replace(home.workshop(), free_bytes=lambda _: LEAST_FREE // 2)

    for _ in range(4):
        home.work(full, after=A_MINUTE)

    with home.store.read() as session:
        pause = session.get_one(Destination, "archive").paused_reason
    assert pause is not None
    assert "the archive's disk is full" in pause
    assert [home.stack(stack_id).fetch_attempts for stack_id in stacks] == [0, 0, 0]
    assert "not fetched yet: the archive's disk is full" in home.delivery(stacks[0]).reason
    assert home.telescope.journal.entries(channel="http") == [], (
        "nothing is fetched that there is no room for"
    )

    home.work(home.workshop(), after=A_MINUTE)

    assert all(home.stack(stack_id).fetched_at for stack_id in stacks)
    events = [(entry.event, (entry.detail or {}).get("destination")) for entry in home.audit("destination")]
    assert ("paused", "archive") in events
    assert ("resumed", "archive") in events
