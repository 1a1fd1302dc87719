"""The watcher's loops, seen from inside the process: what they say of themselves is how they are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from skyrelay.queue.frame_stream import STREAM, current_epoch
from skyrelay.settings import ImageWatcherSettings, WatchRoot
from skyrelay_watcher.fits_look import as_stamp
from skyrelay_watcher.spool import FileKey, Sighting, Spool
from skyrelay_watcher.watching import SPOOL_FILE, Watching
from support.fits_files import write_fits
from support.waiting import eventually

from .conftest import Home

_SOON = timedelta(seconds=3)  # three turns of a loop with nothing to do
_OTHER_RELEASE = '{"version": 2, "what": "a frame, in words that only a later release knows"}'


@contextmanager
def watching(
    home: Home, *roots: Path, debounce_delay: float = 0.1, **options: timedelta
) -> Iterator[Watching]:
    """Watch in this process."""
    paths = tuple(WatchRoot(path=root) for root in roots or (home.photos,))
    settings = ImageWatcherSettings(enabled=True, watch_path=paths, debounce_delay=debounce_delay)
    loops = Watching(settings, redis=home.redis, data_dir=home.folder / "data", **options)
    loops.start()
    try:
        yield loops
    finally:
        loops.stop()


def spool_strange(home: Home, path: Path, *, was_published: bool) -> None:
    """Lay what another release would say of a file into the spool, over what was said of it before."""
    key, stamp = FileKey(str(home.photos), "", path.name), as_stamp(path.stat())
    with Spool(home.folder / "data" / SPOOL_FILE) as spool:
        if was_published:
            spool.add([Sighting(key, stamp, None, "{}")])
            spool.mark_published(spool.oldest(1), current_epoch(home.redis))
        spool.add([Sighting(key, stamp, None, _OTHER_RELEASE)])


@pytest.mark.parametrize("was_published", [False, True])
def test_an_event_of_another_release_is_set_aside_and_its_file_told_anew(
    home: Home, was_published: bool
) -> None:
    spool_strange(home, write_fits(home.photos / "strange.fit"), was_published=was_published)
    write_fits(home.photos / "good.fit")
    with watching(home, scan_every=timedelta(seconds=0.5)) as loops:
        eventually(lambda: sorted(home.paths()) == ["good.fit", "strange.fit"])
        assert loops.turns()
        # Redis has an event a moment before the books say so.
        eventually(lambda: [(report.published, report.spooled) for report in loops.reports()] == [(2, 0)])
    assert all(event.header["OBJECT"] == "M 94" for event in home.events())


def test_a_publisher_that_gets_nowhere_silences_the_beat_until_it_does(home: Home) -> None:
    home.redis.set(STREAM, "what nothing can be added to")
    write_fits(home.photos / "a.fit")
    with watching(home, stalled_after=_SOON) as loops:
        assert loops.turns()
        eventually(lambda: not loops.turns())
        home.redis.delete(STREAM)
        eventually(loops.turns)
        eventually(lambda: home.paths() == ["a.fit"])


def test_a_publisher_that_waits_for_redis_is_not_stuck(home: Home) -> None:
    with watching(home, stalled_after=timedelta(seconds=8)) as loops:
        eventually(lambda: loops.state() == "watching")
        home.server.stop()
        end_s = time.monotonic() + 10  # its pauses grow to 5 s
        eventually(lambda: time.monotonic() > end_s or not loops.turns())
        assert loops.turns()


def test_a_publisher_that_ended_silences_the_beat(home: Home) -> None:
    with watching(home) as loops:
        eventually(lambda: loops.state() == "watching")
        assert loops.turns()
    assert not loops.turns(), "though its roots have turned a moment ago"


# Slow to look at files, a root meets the busy journal while it asks its folder: that is no folder's hang.
@pytest.mark.parametrize("debounce_delay", [0.1, 5.0])
def test_a_root_that_hangs_is_told_of_though_another_goes_on(home: Home, debounce_delay: float) -> None:
    other = home.folder / "other"
    other.mkdir()
    with watching(home, home.photos, other, debounce_delay=debounce_delay, stalled_after=_SOON) as loops:
        eventually(lambda: loops.state() == "watching")
        with closing(sqlite3.connect(home.folder / "data" / SPOOL_FILE)) as busy:
            busy.execute("BEGIN IMMEDIATE")  # whoever has something to write down waits for 5 s
            write_fits(home.photos / "a.fit")
            eventually(lambda: loops.state() == "partly stalled", 60.0)
        eventually(lambda: loops.state() == "watching")
        eventually(lambda: home.paths() == ["a.fit"])
        # The publisher has waited for the same journal: Redis has the event before its turn is over.
        eventually(loops.turns)
