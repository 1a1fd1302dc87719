"""Mounts that drop, show nothing, hang and come back: offline is shown, nothing is lost or told twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from skyrelay.settings import ImageWatcherSettings, WatchRoot
from skyrelay_watcher import ImageWatcher
from skyrelay_watcher.watching import Watching
from support.fits_files import fits_bytes, write_fits
from support.mounts import (
    bind,
    hanging_mount,
    make_image,
    mount_image,
    need_mounts,
    unmount,
    unmounted_at_last,
)
from support.waiting import eventually

from .conftest import Home

_SOON = timedelta(seconds=3)  # three turns of a loop with nothing to do


@dataclass(frozen=True)
class Share:
    """A file system that can be put at a folder, and taken away."""

    point: Path
    put: Callable[[], None]

    def take(self) -> None:
        """Unmount it."""
        unmount(self.point)


@pytest.fixture(params=["bind", "loop"])
def share(home: Home, request: pytest.FixtureRequest) -> Iterator[Share]:
    """Give a file system for the folder of photos, not mounted yet."""
    need_mounts(home.folder)
    if request.param == "bind":
        source = home.folder / "source"
        source.mkdir()
        put: Callable[[], None] = lambda: bind(source, home.photos)  # noqa: E731 - one of two
    else:
        image = make_image(home.folder / "image")
        put = lambda: mount_image(image, home.photos)  # noqa: E731 - the other
    with unmounted_at_last(home.photos):
        yield Share(home.photos, put)


def state(home: Home) -> str:
    return str(home.root().get("state"))


@pytest.mark.parametrize("backend", ["native", "snapshot"])
def test_a_mount_that_drops_and_comes_back_has_only_its_news_told(
    home: Home, share: Share, backend: str
) -> None:
    share.put()
    (home.photos / "M 94_sub").mkdir()
    early = {write_fits(home.photos / "M 94_sub" / f"{number}.fit").name for number in range(20)}
    with home.watcher(backend=backend) as watcher:
        eventually(lambda: len(home.events()) == 20)
        share.take()
        eventually(lambda: state(home) == "offline")
        assert home.root()["files_seen"] == 20, "what is known stays known"
        share.put()
        write_fits(home.photos / "M 94_sub" / "news.fit")
        eventually(lambda: "M 94_sub/news.fit" in home.paths())
        eventually(lambda: state(home) == "watching")
        write_fits(home.photos / "M 94_sub" / "later.fit")
        eventually(lambda: "M 94_sub/later.fit" in home.paths())
        assert watcher.log().count("is offline") == 1
    expected = [f"M 94_sub/{name}" for name in early | {"news.fit", "later.fit"}]
    assert sorted(home.paths()) == sorted(expected)


def test_a_mount_that_is_not_there_at_the_start_is_waited_for(home: Home, share: Share) -> None:
    share.put()
    write_fits(home.photos / "a.fit")
    with home.watcher() as watcher:
        eventually(lambda: home.paths() == ["a.fit"])
        eventually(lambda: home.root()["published"] == 1)
        watcher.kill()
        share.take()
        home.redis.delete("skyrelay:beats")
        watcher.start()
        eventually(lambda: state(home) == "offline")
        share.put()
        write_fits(home.photos / "b.fit")
        eventually(lambda: "b.fit" in home.paths())
    assert home.paths() == ["a.fit", "b.fit"]


def test_a_mount_that_went_and_came_within_a_moment_is_heard_again(home: Home, share: Share) -> None:
    share.put()
    with home.watcher() as watcher:
        eventually(home.watches)
        share.take()
        share.put()
        eventually(lambda: watcher.log().count("watching a folder") == 2)
        write_fits(home.photos / "a.fit")
        eventually(lambda: home.paths() == ["a.fit"])


def test_a_file_system_that_is_mounted_below_the_root_is_heard(home: Home) -> None:
    need_mounts(home.folder)
    below, source = home.photos / "below", home.folder / "source"
    below.mkdir()
    source.mkdir()
    with home.watcher(), unmounted_at_last(below):
        eventually(home.watches)
        bind(source, below)
        write_fits(below / "a.fit")
        eventually(lambda: home.paths() == ["below/a.fit"])


@contextmanager
def watching(home: Home, *roots: Path) -> Iterator[Watching]:
    """Watch in this process; what owes an answer for three seconds hangs."""
    settings = ImageWatcherSettings(
        enabled=True, watch_path=tuple(WatchRoot(path=root) for root in roots), debounce_delay=0.1
    )
    loops = Watching(settings, redis=home.redis, data_dir=home.folder / "data", stalled_after=_SOON)
    loops.start()
    try:
        yield loops
    finally:
        loops.stop()


def test_a_mount_that_hangs_is_offline_and_holds_up_itself_alone(home: Home) -> None:
    need_mounts(home.folder)
    far = home.folder / "far"
    far.mkdir()
    write_fits(far / "before.fit")
    with watching(home, far, home.photos) as loops:
        eventually(lambda: home.paths() == ["before.fit"])
        with hanging_mount(far) as mount:
            eventually(lambda: loops.reports()[0].state == "offline")
            assert loops.reports()[0].stale_for_s >= 3
            assert loops.turns(), "it waits for the mount, which is all that it can do"
            write_fits(home.photos / "near.fit")
            eventually(lambda: "near.fit" in home.paths())
            mount.die()
            eventually(lambda: loops.reports()[0].stale_for_s < 3)
            assert loops.reports()[0].state == "offline", "its server is gone, it is not connected"
        write_fits(far / "after.fit")
        eventually(lambda: "after.fit" in home.paths())
        eventually(lambda: loops.reports()[0].state == "watching")
    assert home.paths() == ["before.fit", "near.fit", "after.fit"]


def test_a_watcher_whose_only_mount_hangs_lives_and_says_so(home: Home) -> None:
    need_mounts(home.folder)
    with hanging_mount(home.photos) as mount, watching(home, home.photos) as loops:
        eventually(lambda: loops.reports()[0].state == "offline")
        assert (loops.turns(), loops.state()) == (True, "degraded")
        mount.take_away()
        write_fits(home.photos / "a.fit")
        eventually(lambda: home.paths() == ["a.fit"])


def test_the_class_hears_a_mount_that_came_back(home: Home, share: Share) -> None:
    share.put()
    write_fits(home.photos / "there before.fit")
    heard: list[str] = []
    watcher = ImageWatcher(home.photos, lambda image: heard.append(Path(image["path"]).name), 0.1)
    watcher.start()
    try:
        write_fits(home.photos / "a.fit")
        eventually(lambda: heard == ["a.fit"])
        share.take()
        share.put()
        write_fits(home.photos / "b.fit")
        eventually(lambda: heard == ["a.fit", "b.fit"])
        write_fits(home.photos / "c.fit")
        eventually(lambda: heard == ["a.fit", "b.fit", "c.fit"])
    finally:
        watcher.stop()


def test_a_slow_file_on_a_mount_is_told_once_and_whole(home: Home) -> None:
    with home.watcher(backend="snapshot", debounce_delay=1.0):
        eventually(home.watches)
        with (home.photos / "a.fit").open("wb", buffering=0) as file:
            file.write(fits_bytes()[:3000])
            eventually(lambda: len(home.events()) == 1)
            file.write(fits_bytes()[3000:])
        eventually(lambda: len(home.events()) == 2)
    assert [event.problem for event in home.events()] == ["the file is cut short: 3000 of 5760 bytes", None]
