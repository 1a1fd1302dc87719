"""An event says what a frame is, and never where somebody lives."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from skyrelay.queue.events import FrameEvent
from skyrelay_watcher.fits_look import Look, Stamp, look_at
from skyrelay_watcher.frame_events import as_text, frame_event
from skyrelay_watcher.spool import FileKey
from support.fits_files import write_fits

_NOW = datetime(2025, 3, 27, 1, 30, tzinfo=UTC)
_KEY = FileKey("/photos", "M 94_sub", "a.fit")


def event_of(path: Path) -> FrameEvent:
    look = look_at(str(path))
    assert look is not None
    return frame_event(_KEY, look, telescope="garden", now=_NOW)


def test_a_good_frame(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fit")
    os.utime(path, ns=(0, 1_743_038_442_123_456_789))
    event = event_of(path)
    assert (event.root, event.path, event.telescope) == ("/photos", "M 94_sub/a.fit", "garden")
    assert event.header["DATE-OBS"] == "2025-03-27T01:20:32.955368"
    assert event.header["EXPTIME"] == 10.0
    assert event.modified_at == datetime(2025, 3, 27, 1, 20, 42, 123456, tzinfo=UTC)
    assert (event.size_bytes, event.seen_at, event.problem) == (5760, _NOW, None)


def test_the_home_stays_at_home(tmp_path: Path) -> None:
    text = event_of(write_fits(tmp_path / "a.fit")).model_dump_json()
    assert "SITE" not in text
    assert "33.654321" not in text
    assert "80.123456" not in text


def test_a_frame_that_is_cut_short_gives_its_problem_and_no_header(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fit")
    os.truncate(path, 3000)
    event = event_of(path)
    assert event.problem == "the file is cut short: 3000 of 5760 bytes"
    assert event.header == {}


def test_an_absurd_time_of_modification_does_no_harm() -> None:
    for modified_ns in (-(2**63) + 1, 2**63 - 1):
        event = frame_event(_KEY, Look(Stamp(0, modified_ns, 0), problem="x"), telescope=None, now=_NOW)
        assert FrameEvent.model_validate_json(event.model_dump_json()) == event


def test_a_name_that_is_no_text_is_written_as_one() -> None:
    assert as_text(os.fsdecode(b"a\xff\n.fit")) == "a\\udcff\n.fit"
    assert as_text("M 31 – Ü.fit") == "M 31 – Ü.fit"
