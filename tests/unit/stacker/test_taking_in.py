"""Frame events taken in: whose is the file, is it a light frame, what does it say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.queue.events import FrameEvent
from skyrelay.settings import TelescopeSettings
from skyrelay.store.tables import Block, Telescope
from support.workshop import Home, half

NAME = "Light_M 94_10.0s_IRCUT_20250326-212046.fit"
STARTED = datetime(2025, 3, 27, 1, 20, 32, 955368, tzinfo=UTC)


def event(file_name: str = NAME, folder: str = "M 94_sub", **changes: Any) -> FrameEvent:
    """Give a watcher's event of one good frame of telescope 1d3fe189."""
    cards = {"DATE-OBS": "2025-03-27T01:20:32.955368", "TELESCOP": "S50_1d3fe189", "RA": 193.0, "DEC": 41.0}
    usual: dict[str, Any] = {
        "root": "/photos",
        "path": f"{folder}/{file_name}",
        "size_bytes": 4_152_960,
        "modified_at": STARTED,
        "header": cards,
        "seen_at": STARTED + timedelta(seconds=20),
    }
    return FrameEvent(**{**usual, **changes})


def without(frame_event: FrameEvent, *cards: str) -> FrameEvent:
    """Leave cards out of an event's header."""
    header = {card: value for card, value in frame_event.header.items() if card not in cards}
    return frame_event.model_copy(update={"header": header})


def garden(**changes: Any) -> TelescopeSettings:
    """Configure a telescope that was never in touch."""
    return TelescopeSettings(**{"name": "garden", "host": "192.0.2.7", **changes})


def test_an_event_becomes_a_frame_in_its_block_without_any_telescope_being_asked(home: Home) -> None:
    assert home.take_in(event()) == 1
    (frame,) = home.frames
    assert (frame.start_at, frame.utc_offset_min, frame.offset_source) == (STARTED, -240, OffsetSource.HEADER)
    assert (frame.folder, frame.file_name, frame.seen_by) == ("M 94_sub", NAME, "watcher")
    assert home.block().start_at == datetime(2025, 3, 27, 1, 15, tzinfo=UTC)
    assert home.take_in(event(), event()) == 0


def test_a_telescope_that_is_not_configured_is_known_from_its_frames(home: Home) -> None:
    home.take_in(event())
    (telescope,) = home.rows(Telescope)
    assert (telescope.serial, telescope.host, telescope.name) == ("1d3fe189", None, "Seestar 1d3fe189")


def test_frames_of_two_telescopes_in_one_folder_are_kept_apart(home: Home) -> None:
    other = event(header={**event().header, "TELESCOP": "S50_00aa11bb"})
    assert home.take_in(event(), other) == 2
    assert sorted(row.serial for row in home.rows(Telescope)) == ["00aa11bb", "1d3fe189"]
    assert len(home.rows(Block)) == 2


def test_the_header_goes_before_the_folders_telescope(home: Home) -> None:
    home.configure(garden(serial="00aa11bb"))
    home.take_in(event(telescope="garden"))
    (frame,) = home.frames
    assert frame.telescope_id == home.telescope("Seestar 1d3fe189").id


@pytest.mark.parametrize("serials", [("00aa11bb",), ("00aa11bb", "22cc33dd")])
def test_a_frame_without_telescop_is_its_folders_telescopes_or_the_only_ones(
    home: Home, serials: tuple[str, ...]
) -> None:
    home.configure(*(garden(name=f"t{number}", serial=serial) for number, serial in enumerate(serials)))
    root = {"telescope": "t0"} if len(serials) > 1 else {}
    home.take_in(without(event(**root), "TELESCOP"))
    assert home.frames[0].telescope_id == home.telescope("t0").id


def test_a_frame_of_nobody_is_put_aside_with_what_to_do_and_taken_in_once_its_owner_is_known(
    home: Home,
) -> None:
    home.configure(garden(name="north", serial="00aa11bb"), garden(name="south", serial="22cc33dd"))
    stray = without(event(), "TELESCOP")
    assert home.take_in(stray, stray) == 0
    (ignored,) = home.ignored
    assert (ignored.root, ignored.path) == ("/photos", f"M 94_sub/{NAME}")
    assert "image_watcher.watch_path" in ignored.reason
    assert home.take_in(stray.model_copy(update={"telescope": "south"})) == 1
    assert home.ignored == []


@pytest.mark.parametrize(
    ("file_name", "reason"),
    [
        ("DSO_Stacked_32_M 94_10.0s_20250327_030000.fit", "a stack, not a light frame"),
        ("CrowdSky_32_M 94_10.0s_IRCUT_20250327.05_HP033810.fit", "a stack, not a light frame"),
        ("dark_001.fits", "its name is not a light frame's"),
        ("Light_M 94_10.0s_IRCUT_20250231-212046.fit", "its name is not a light frame's"),
    ],
)
def test_a_file_that_is_no_light_frame_is_counted_once_with_its_reason(
    home: Home, file_name: str, reason: str
) -> None:
    assert home.take_in(event(file_name), event(file_name)) == 0
    home.take_in(event(file_name))
    (ignored,) = home.ignored
    assert ignored.reason.startswith(reason)
    assert home.frames == []


def test_an_unreadable_frame_is_recorded_and_blocks_none_of_the_others(home: Home) -> None:
    home.configure(garden())
    other = NAME.replace("212046", "212057")
    assert home.take_in(half(event()), event(other)) == 2
    assert {frame.file_name: frame.state for frame in home.frames} == {
        NAME: FrameState.UNREADABLE,
        other: FrameState.OK,
    }
    assert next(f.state_reason for f in home.frames if f.state == FrameState.UNREADABLE) == "it ends early"


def test_a_half_frame_whose_owner_only_the_whole_one_names_ends_as_one_frame(home: Home) -> None:
    home.configure(garden(name="north", serial="00aa11bb"), garden(name="south", serial="22cc33dd"))
    assert home.take_in(half(event())) == 0
    assert len(home.ignored) == 1
    assert home.take_in(event()) == 1
    assert (home.ignored, [frame.state for frame in home.frames]) == ([], [FrameState.OK])


def test_a_frame_from_the_future_is_held(home: Home) -> None:
    home.take_in(
        event(
            "Light_M 94_10.0s_IRCUT_20990326-212046.fit",
            header={**event().header, "DATE-OBS": "2099-03-27T01:20:32"},
        )
    )
    assert [frame.state for frame in home.frames] == [FrameState.CLOCK_WRONG]
    assert home.rows(Block) == []


@pytest.mark.parametrize(
    ("zone", "neighbour", "source", "offset_min"),
    [
        ("auto", True, OffsetSource.NEIGHBOUR, -240),
        ("Asia/Tokyo", True, OffsetSource.NEIGHBOUR, -240),
        ("America/New_York", False, OffsetSource.TELESCOPE_ZONE, -240),
        ("Asia/Kathmandu", False, OffsetSource.TELESCOPE_ZONE, 345),
    ],
)
def test_without_date_obs_the_offset_is_a_neighbours_or_the_zones(
    home: Home, zone: str, neighbour: bool, source: OffsetSource, offset_min: int
) -> None:
    home.configure(garden(serial="1d3fe189", timezone=zone))
    if neighbour:
        home.take_in(event())
    home.take_in(without(event(NAME.replace("212046", "212057")), "DATE-OBS"))
    frame = home.frames[-1]
    assert (frame.offset_source, frame.utc_offset_min, frame.start_source) == (source, offset_min, "name")


def test_without_a_zone_the_observatorys_is_taken_and_last_the_servers(home: Home) -> None:
    home.configure(garden(serial="1d3fe189"))
    home.take_in(without(event(), "DATE-OBS"))
    assert home.frames[-1].offset_source == OffsetSource.SERVER_ZONE
    home.prefer("observatory", timezone="America/New_York")
    home.take_in(without(event(NAME.replace("212046", "212057")), "DATE-OBS"))
    assert (home.frames[-1].offset_source, home.frames[-1].utc_offset_min) == (
        OffsetSource.TELESCOPE_ZONE,
        -240,
    )


def test_a_neighbour_of_another_night_does_not_count(home: Home) -> None:
    home.configure(garden(serial="1d3fe189", timezone="Europe/Vienna"))
    home.take_in(event())
    home.take_in(without(event(NAME.replace("20250326", "20250401")), "DATE-OBS"))
    assert home.frames[-1].offset_source == OffsetSource.TELESCOPE_ZONE
