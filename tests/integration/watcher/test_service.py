"""The watcher as a process: every file in the stream, whatever happens to it, to Redis or to the folder."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from pathlib import Path

import pytest

from skyrelay.queue.events import FrameEvent
from support.fits_files import fits_bytes, write_fits
from support.left_out import left_out
from support.service_process import STOPS_WITHIN_S, ServiceProcess
from support.waiting import eventually

from .conftest import Home

REAL_FRAMES = Path(__file__).parents[3] / "../shared/data/seestar-m94"


def write_many(folder: Path, count: int, prefix: str = "") -> set[str]:
    """Write ``count`` files; give their names."""
    names = {f"{prefix}{number}.fit" for number in range(count)}
    for name in names:
        write_fits(folder / name)
    return names


def test_a_frame_becomes_one_event(home: Home) -> None:
    with home.watcher():
        eventually(home.watches)
        (home.photos / "M 94_sub").mkdir()
        write_fits(home.photos / "M 94_sub" / "Light.fit")
        eventually(home.events)
        write_fits(home.photos / "last.fit")
        eventually(lambda: "last.fit" in home.paths())
    assert home.paths() == ["M 94_sub/Light.fit", "last.fit"]
    event = home.events()[0]
    assert (event.root, event.telescope, event.folder) == (str(home.photos), None, "M 94_sub")
    assert (event.header["OBJECT"], event.size_bytes, event.problem) == ("M 94", 5760, None)
    assert "SITELAT" not in event.header


def test_files_that_came_before_the_start_are_told_and_not_told_again_later(home: Home) -> None:
    names = write_many(home.photos, 20)
    with home.watcher() as watcher:
        eventually(lambda: len(home.events()) == 20)
        watcher.tell(signal.SIGTERM)
        assert watcher.wait(60) == 0
        watcher.start()
        write_fits(home.photos / "new.fit")
        eventually(lambda: "new.fit" in home.paths())
    assert sorted(home.paths()) == sorted([*names, "new.fit"])


def test_a_slow_file_is_told_once_and_whole(home: Home) -> None:
    content = fits_bytes(bytes(100_000), NAXIS1=250, NAXIS2=200)
    with home.watcher():
        eventually(home.watches)
        with (home.photos / "slow.fit").open("wb", buffering=0) as file:
            for start in range(0, len(content), 10_000):
                file.write(content[start : start + 10_000])
                time.sleep(0.1)  # the writer's pace, not a wait for a result
        eventually(home.events)
    assert [(event.size_bytes, event.problem) for event in home.events()] == [(len(content), None)]


def test_a_rename_is_told_under_the_final_name_alone(home: Home) -> None:
    with home.watcher():
        eventually(home.watches)
        write_fits(home.photos / ".hidden.fit").rename(home.photos / "a.FITS")
        write_fits(home.photos / "b.tmp").rename(home.photos / "b.fit")
        eventually(lambda: len(home.events()) == 2)
        write_fits(home.photos / "last.fit")
        eventually(lambda: "last.fit" in home.paths())
    assert sorted(home.paths()) == ["a.FITS", "b.fit", "last.fit"]


def test_new_folders_are_watched_with_what_is_in_them_already(home: Home, tmp_path: Path) -> None:
    moved_in = tmp_path / "elsewhere" / "M 31_sub" / "deep"
    moved_in.mkdir(parents=True)
    write_fits(moved_in / "moved.fit")
    with home.watcher():
        eventually(home.watches)
        for number in range(30):
            folder = home.photos / f"target {number}" / "sub"
            folder.mkdir(parents=True)
            write_fits(folder / "a.fit")
        moved_in.parent.rename(home.photos / "M 31_sub")
        eventually(lambda: len(home.events()) == 31)
        write_fits(home.photos / "M 31_sub" / "deep" / "later.fit")
        eventually(lambda: "M 31_sub/deep/later.fit" in home.paths())
    expected = {f"target {number}/sub/a.fit" for number in range(30)} | {"M 31_sub/deep/moved.fit"}
    assert sorted(home.paths()) == sorted([*expected, "M 31_sub/deep/later.fit"])


def test_a_truncated_file_is_told_with_its_problem_and_again_when_it_is_whole(home: Home) -> None:
    with home.watcher():
        eventually(home.watches)
        with (home.photos / "a.fit").open("wb", buffering=0) as file:
            file.write(fits_bytes()[:3000])
            eventually(lambda: len(home.events()) == 1)
            file.write(fits_bytes()[3000:])
        eventually(lambda: len(home.events()) == 2)
    first, second = home.events()
    assert (first.problem, first.header) == ("the file is cut short: 3000 of 5760 bytes", {})
    assert (second.problem, second.header["OBJECT"]) == (None, "M 94")


def test_an_unreadable_file_is_told_once_however_often_we_start(home: Home) -> None:
    (home.photos / "bad.fit").write_bytes(b"not a picture")
    with home.watcher() as watcher:
        eventually(home.events)
        eventually(
            lambda: home.root().get("unreadable") == 1
        )  # killed before that is noted, it tells it again
        watcher.kill()
        watcher.start()
        eventually(lambda: home.root().get("unreadable") == 1)
        write_fits(home.photos / "good.fit")
        eventually(lambda: "good.fit" in home.paths())
    assert home.paths() == ["bad.fit", "good.fit"]


def test_hostile_entries_stall_nothing(home: Home) -> None:
    os.mkfifo(home.photos / "fifo.fit")
    (home.photos / "loop").symlink_to(home.photos)
    (home.folder / "elsewhere").mkdir()
    write_fits(home.folder / "elsewhere" / "outside.fit")
    (home.photos / "out").symlink_to(home.folder / "elsewhere")
    (home.photos / "folder.fit").mkdir()
    os.mknod(home.photos / "socket.fit", 0o600 | stat.S_IFSOCK)
    if os.geteuid() == 0:
        os.mknod(home.photos / "device.fit", 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    (home.photos / "link.fit").symlink_to("/dev/zero")
    (home.photos / "endless.fit").write_bytes(fits_bytes()[:80])
    os.truncate(home.photos / "endless.fit", 10 * 2**30)
    strange = os.fsencode(home.photos) + b"/new\nline\xff.fit"
    Path(os.fsdecode(strange)).write_bytes(fits_bytes())
    with home.watcher():
        eventually(lambda: len(home.events()) == 2)
        write_fits(home.photos / "last.fit")
        eventually(lambda: "last.fit" in home.paths())
    assert sorted(home.paths()) == ["endless.fit", "last.fit", "new\nline\\udcff.fit"]


def test_a_changed_file_is_told_again_and_a_touched_mode_is_not(home: Home) -> None:
    with home.watcher():
        eventually(home.watches)
        path = write_fits(home.photos / "a.fit")
        eventually(home.events)
        path.chmod(0o600)
        write_fits(home.photos / "b.fit")
        eventually(lambda: "b.fit" in home.paths())
        write_fits(path, OBJECT="M 31")
        eventually(lambda: len(home.events()) == 3)
    assert [event.path for event in home.events()] == ["a.fit", "b.fit", "a.fit"]
    assert [event.header["OBJECT"] for event in home.events()] == ["M 94", "M 94", "M 31"]


def test_a_burst(home: Home) -> None:
    with home.watcher() as watcher:
        eventually(home.watches)
        threads = len(list(Path(f"/proc/{watcher.pid}/task").iterdir()))
        names = write_many(home.photos, 3000)
        eventually(lambda: len(home.events()) >= 3000)
        assert len(list(Path(f"/proc/{watcher.pid}/task").iterdir())) == threads
    assert sorted(home.paths()) == sorted(names)


def test_while_redis_is_away_events_wait_on_disk(home: Home) -> None:
    with home.watcher() as watcher:
        eventually(home.watches)
        home.server.stop()
        early = write_many(home.photos, 30, "early ")
        eventually(lambda: "kept on disk" in watcher.log())
        watcher.kill()
        watcher.start()
        late = write_many(home.photos, 30, "late ")
        eventually(lambda: spooled(home) == 60)
        home.server.start()
        eventually(lambda: len(home.events()) >= 60)
    assert set(home.paths()) == early | late
    assert "Traceback" not in watcher.log()


def test_a_redis_that_was_wiped_gets_everything_again(home: Home) -> None:
    names = write_many(home.photos, 25)
    with home.watcher():
        eventually(lambda: len(home.events()) == 25)
        home.redis.flushall()
        eventually(lambda: len(home.events()) >= 25)
        eventually(lambda: home.root().get("published") == 25)
    assert sorted(home.paths()) == sorted(names)


def test_a_redis_that_came_up_with_an_old_snapshot_gets_what_came_since(home: Home) -> None:
    early = write_many(home.photos, 5, "early ")
    with home.watcher():
        eventually(lambda: len(home.events()) == 5)
        home.redis.save()
        late = write_many(home.photos, 5, "late ")
        eventually(lambda: len(home.events()) == 10)
        home.server.stop()
        home.server.start()
        assert set(home.paths()) >= early
        eventually(lambda: set(home.paths()) == early | late)


def test_killed_again_and_again_it_loses_nothing(home: Home) -> None:
    names: set[str] = set()
    with home.watcher(debounce_delay=0.05) as watcher:
        for turn in range(5):
            names |= write_many(home.photos, 100, f"{turn}-")
            eventually(lambda: len(home.events()) > turn * 80)  # noqa: B023 - called within this turn
            watcher.kill()
            names |= write_many(home.photos, 20, f"{turn}-down-")
            watcher.start()
        eventually(lambda: set(home.paths()) == names)


def test_a_root_that_is_not_there_is_waited_for_and_the_others_go_on(home: Home) -> None:
    missing = home.folder / "offline"
    roots = [{"path": str(missing), "telescope": None}, str(home.photos)]
    with home.watcher(watch_path=roots) as watcher:
        write_fits(home.photos / "a.fit")
        eventually(lambda: home.paths() == ["a.fit"])
        eventually(lambda: home.root().get("state") == "offline")
        assert home.detail()["state"] == "degraded"
        assert watcher.log().count("is offline") == 1
        missing.mkdir()
        write_fits(missing / "b.fit")
        eventually(lambda: "b.fit" in home.paths())
    assert [event.root for event in home.events()] == [str(home.photos), str(missing)]


def test_a_root_that_is_taken_away_and_comes_back(home: Home) -> None:
    with home.watcher():
        eventually(home.watches)
        write_fits(home.photos / "a.fit")
        eventually(home.events)
        home.photos.rename(home.folder / "away")
        eventually(lambda: home.root().get("state") == "offline")
        (home.folder / "away").rename(home.photos)
        write_fits(home.photos / "b.fit")
        eventually(lambda: "b.fit" in home.paths())
        shutil.rmtree(home.photos)
        home.photos.mkdir()
        write_fits(home.photos / "c.fit")
        eventually(lambda: "c.fit" in home.paths())
    assert home.paths() == ["a.fit", "b.fit", "c.fit"]


def test_a_folder_that_somebody_emptied_is_not_offline(home: Home) -> None:
    path = write_fits(home.photos / "a.fit")
    with home.watcher(backend="snapshot") as watcher:
        eventually(lambda: home.root().get("published") == 1)
        path.unlink()
        watcher.kill()
        watcher.start()
        eventually(lambda: home.root().get("files_seen") == 0)
        assert home.root()["state"] == "watching"
        write_fits(home.photos / "b.fit")
        eventually(lambda: "b.fit" in home.paths())


def test_another_folder_in_its_place_that_is_empty_is_offline_and_heard(home: Home) -> None:
    write_fits(home.photos / "a.fit")
    with home.watcher():
        eventually(lambda: home.root().get("published") == 1)
        home.photos.rename(home.folder / "away")
        home.photos.mkdir()
        eventually(lambda: home.root().get("state") == "offline")
        assert home.root()["files_seen"] == 1
        write_fits(home.photos / "b.fit")
        eventually(lambda: "b.fit" in home.paths())
        eventually(lambda: home.root().get("state") == "watching")


def test_each_root_may_have_its_own_way(home: Home) -> None:
    far = home.folder / "far"
    (far / "deeper").mkdir(parents=True)
    write_fits(far / "deeper" / "unseen.fit")
    roots = [{"path": str(far), "recursive": False, "backend": "snapshot"}, str(home.photos)]
    with home.watcher(watch_path=roots):
        eventually(home.watches)
        write_fits(far / "a.fit")
        (home.photos / "deeper").mkdir()
        write_fits(home.photos / "deeper" / "b.fit")
        eventually(lambda: sorted(home.paths()) == ["a.fit", "deeper/b.fit"])
        assert (home.root(0)["backend"], home.root(1)["backend"]) == ("snapshot", "native")


def test_a_root_that_is_not_recursive(home: Home) -> None:
    (home.photos / "deeper").mkdir()
    write_fits(home.photos / "deeper" / "before.fit")
    with home.watcher(recursive=False):
        eventually(home.watches)
        write_fits(home.photos / "deeper" / "after.fit")
        write_fits(home.photos / "a.fit")
        eventually(home.events)
    assert home.paths() == ["a.fit"]


def test_the_beat_says_what_goes_on(home: Home) -> None:
    with home.watcher() as watcher:
        write_fits(home.photos / "a.fit")
        (home.photos / "b.fit").write_bytes(b"x")
        eventually(lambda: (home.root().get("files_seen"), home.root().get("published")) == (2, 1))
        eventually(lambda: home.root()["spooled"] == 0)
        root = home.root()
        assert root.pop("last_event_at") is not None
        assert root.pop("last_event_age_s") >= 0
        assert root.pop("stale_for_s") >= 0
        assert root == {
            "path": str(home.photos),
            "state": "watching",
            "backend": "native",
            "files_seen": 2,
            "published": 1,
            "waiting": 0,
            "unreadable": 1,
            "spooled": 0,
        }
        watcher.tell(signal.SIGINT)
        assert watcher.wait(STOPS_WITHIN_S) == 0


@pytest.mark.parametrize(
    ("setup", "enabled", "state"), [("done", False, "disabled"), ("ask", True, "waiting for set-up")]
)
def test_with_nothing_to_do_it_idles_and_says_so(home: Home, setup: str, enabled: bool, state: str) -> None:
    write_fits(home.photos / "a.fit")
    settings = {
        "setup": setup,
        "redis_url": home.server.url,
        "data_dir": str(home.folder / "data"),
        "image_watcher": {"enabled": enabled, "watch_path": str(home.photos)},
    }
    with ServiceProcess("watcher", home.folder, settings) as watcher:
        eventually(lambda: home.detail().get("state") == state)
        watcher.tell(signal.SIGTERM)
        assert watcher.wait(STOPS_WITHIN_S) == 0
    assert home.events() == []


@pytest.mark.parametrize("paths", [[], ["/photos", "/photos"]])
def test_watching_nothing_or_one_thing_twice_is_a_wrong_configuration(home: Home, paths: list[str]) -> None:
    with home.watcher(watch_path=paths) as watcher:
        assert watcher.wait(60) == 2
        assert "image_watcher.watch_path" in watcher.log()


def test_it_stops_within_two_seconds_while_redis_hangs(home: Home) -> None:
    with home.watcher() as watcher:
        eventually(home.watches)
        home.redis.execute_command("CLIENT", "PAUSE", "60000", "ALL")
        write_many(home.photos, 10)
        eventually(lambda: spooled(home) == 10)
        watcher.tell(signal.SIGTERM)
        assert watcher.wait(STOPS_WITHIN_S) == 0


def test_the_real_frames(home: Home, real_frames: list[Path]) -> None:
    with home.watcher():
        eventually(home.watches)
        folder = home.photos / "M 94_sub"
        folder.mkdir()
        for frame in real_frames:
            shutil.copyfile(frame, folder / frame.name)
        eventually(lambda: len(home.events()) >= len(real_frames))
    events: list[FrameEvent] = home.events()
    assert sorted(event.file_name for event in events) == sorted(frame.name for frame in real_frames)
    assert {(event.problem, event.header["TELESCOP"], event.header["EXPTIME"]) for event in events} == {
        (None, "S50_1d3fe189", 10.0)
    }


@pytest.fixture
def real_frames() -> list[Path]:
    """Give the real frames of one target."""
    frames = sorted(REAL_FRAMES.glob("*.fit"))
    if not frames:
        left_out("the real sub-frames of M 94 are not beside this checkout")
    return frames


def spooled(home: Home) -> int:
    """Count what waits on disk."""
    import sqlite3
    from contextlib import closing

    with closing(
        sqlite3.connect(f"file:{home.folder}/data/watcher/spool.db?mode=ro", uri=True)
    ) as connection:
        return int(connection.execute("SELECT count(*) FROM spool").fetchone()[0])
