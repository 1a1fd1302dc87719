"""The spool gives back what was put in, and knows what was said, after any restart."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from skyrelay_watcher.fits_look import Stamp
from skyrelay_watcher.spool import FORGET_AFTER, Figures, FileKey, Known, Sighting, Spool

_STAMP = Stamp(100, 200, 300)
_NEWER = Stamp(101, 201, 301)
_ROOT = "/photos"
_NOW = datetime(2025, 3, 27, 1, 30, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "watcher" / "spool.db") as spool:
        yield spool


def key(name: str, folder: str = "M 94_sub") -> FileKey:
    return FileKey(_ROOT, folder, name)


def sighting(name: str, stamp: Stamp = _STAMP, problem: str | None = None, event: str = "{}") -> Sighting:
    return Sighting(key(name), stamp, problem, event)


def publish_all(spool: Spool, epoch: str = "first") -> None:
    spool.mark_published(spool.oldest(1000), epoch)


def test_events_come_out_in_order_until_they_are_published(spool: Spool) -> None:
    spool.add([sighting(f"{number}.fit", event=str(number)) for number in range(5)])
    assert [row.event for row in spool.oldest(3)] == ["0", "1", "2"]
    spool.mark_published(spool.oldest(3), "first")
    assert [row.event for row in spool.oldest(10)] == ["3", "4"]


def test_a_spooled_file_is_known_whatever_the_epoch(spool: Spool) -> None:
    spool.add([sighting("a.fit")])
    known = spool.known(key("a.fit"))
    assert known == Known(_STAMP, None, None)
    assert known.covers(_STAMP, "any")
    assert not known.covers(_NEWER, "any")


def test_a_published_file_is_known_under_its_epoch_alone(spool: Spool) -> None:
    spool.add([sighting("a.fit")])
    publish_all(spool)
    known = spool.known(key("a.fit"))
    assert known is not None
    assert known.covers(_STAMP, "first")
    assert known.covers(_STAMP, None)
    assert not known.covers(_STAMP, "second")


def test_a_new_mode_is_no_new_content_but_may_mend_an_unreadable_file(spool: Spool) -> None:
    spool.add([sighting("good.fit"), sighting("bad.fit", problem="cannot be read")])
    other_mode = Stamp(_STAMP.size_bytes, _STAMP.modified_ns, _STAMP.changed_ns + 1)
    known = spool.known_in(_ROOT, "M 94_sub")
    assert known["good.fit"].covers(other_mode, None)
    assert not known["bad.fit"].covers(other_mode, None)
    assert known["bad.fit"].covers(_STAMP, None)


def test_a_newer_word_on_a_file_replaces_one_that_waits(spool: Spool) -> None:
    spool.add([sighting("a.fit", problem="cut short", event="old")])
    rows = spool.oldest(10)
    spool.add([sighting("a.fit", _NEWER, event="new")])
    spool.mark_published(rows, "first")  # the old one was on its way
    assert [row.event for row in spool.oldest(10)] == ["new"]
    assert spool.known(key("a.fit")) == Known(_NEWER, None, None)


def test_the_spool_has_the_last_word_over_the_journal(spool: Spool) -> None:
    spool.add([sighting("a.fit")])
    publish_all(spool)
    spool.add([sighting("a.fit", _NEWER)])
    assert spool.known_in(_ROOT, "M 94_sub")["a.fit"].stamp == _NEWER
    assert spool.known(key("a.fit")) == Known(_NEWER, None, None)


def test_names_of_any_bytes_come_back(spool: Spool) -> None:
    name = os.fsdecode(b"a\xff\n\x01.fit")
    spool.add([sighting(name)])
    assert list(spool.known_in(_ROOT, "M 94_sub")) == [name]


def test_what_is_gone_stays_known_for_a_month_and_is_then_forgotten(spool: Spool) -> None:
    spool.add([sighting("a.fit"), sighting("b.fit"), Sighting(key("c.fit", "M 31_sub"), _STAMP, None, "{}")])
    publish_all(spool)
    spool.note_gone(_ROOT, "M 94_sub", ["a.fit"], _NOW)
    spool.note_folder_gone(_ROOT, "M 31_sub", _NOW)
    assert spool.known(key("a.fit")) == Known(_STAMP, None, "first", is_gone=True)
    assert spool.folders(_ROOT) == ["M 94_sub"]
    assert spool.figures(_ROOT, "first") == Figures(published=1, unreadable=0, spooled=0, seen=1)
    spool.forget_gone(_NOW + FORGET_AFTER - timedelta(seconds=1))
    assert sorted(spool.known_in(_ROOT, "M 94_sub")) == ["a.fit", "b.fit"]
    spool.forget_gone(_NOW + FORGET_AFTER)
    assert sorted(spool.known_in(_ROOT, "M 94_sub")) == ["b.fit"]
    assert spool.known_in(_ROOT, "M 31_sub") == {}


def test_what_comes_back_is_known_as_it_was(spool: Spool) -> None:
    spool.add([sighting("a.fit")])
    publish_all(spool)
    spool.note_gone(_ROOT, "M 94_sub", ["a.fit"], _NOW)
    assert not spool.knows_files(_ROOT)
    spool.note_back(_ROOT, "M 94_sub", ["a.fit"])
    assert spool.knows_files(_ROOT)
    assert spool.known(key("a.fit")) == Known(_STAMP, None, "first")
    spool.forget_gone(_NOW + 2 * FORGET_AFTER)
    assert spool.knows_files(_ROOT)


def test_what_is_told_again_is_there_again(spool: Spool) -> None:
    spool.add([sighting("a.fit")])
    publish_all(spool)
    spool.note_gone(_ROOT, "M 94_sub", ["a.fit"], _NOW)
    spool.add([sighting("a.fit", _NEWER)])
    assert spool.figures(_ROOT, "first").seen == 1
    publish_all(spool)
    assert spool.known(key("a.fit")) == Known(_NEWER, None, "first")


def test_roots_that_are_no_longer_configured_are_forgotten(spool: Spool) -> None:
    spool.add([sighting("a.fit")])
    publish_all(spool)
    spool.remember_place(_ROOT, "1:2")
    assert spool.place(_ROOT) == "1:2"
    spool.forget_other_roots(["/elsewhere"])
    assert (spool.folders(_ROOT), spool.place(_ROOT)) == ([], None)


def test_figures(spool: Spool) -> None:
    spool.add([sighting("a.fit"), sighting("b.fit"), sighting("c.fit", problem="cut short")])
    publish_all(spool)
    spool.add([sighting("c.fit", _NEWER), sighting("d.fit", problem="empty")])
    assert spool.figures(_ROOT, "first") == Figures(published=2, unreadable=1, spooled=2, seen=4)
    assert spool.figures(_ROOT, "second") == Figures(published=0, unreadable=1, spooled=2, seen=4)
    assert spool.figures("/elsewhere", None) == Figures(0, 0, 0, 0)


def test_it_is_all_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    file = tmp_path / "spool.db"
    with Spool(file) as spool:
        spool.add([sighting("a.fit"), sighting("b.fit")])
        spool.mark_published(spool.oldest(1), "first")
    with Spool(file) as spool:
        assert spool.known(key("a.fit")) == Known(_STAMP, None, "first")
        assert len(spool.oldest(10)) == 1


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "spool.db"
    file.write_bytes(content)
    with Spool(file) as spool:
        spool.add([sighting("a.fit")])
    assert (tmp_path / "spool.unreadable").read_bytes() == content


def test_a_file_of_another_release_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "spool.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with Spool(file) as spool:
        assert spool.oldest(10) == []
