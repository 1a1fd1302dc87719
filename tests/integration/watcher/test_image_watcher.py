"""The class for people's own scripts, on real folders."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skyrelay_watcher import ImageWatcher
from support.fits_files import fits_bytes, write_fits
from support.waiting import eventually

_DELAY_S = 0.2


class Heard(list[dict[str, Any]]):
    """Collects what the callback is told."""

    @property
    def names(self) -> list[str]:
        """Names of the files."""
        return [Path(image["path"]).name for image in self]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watcher(tmp_path: Path, heard: Heard) -> Iterator[ImageWatcher]:
    watcher = ImageWatcher(tmp_path, heard.append, debounce_delay=_DELAY_S)
    watcher.start()
    yield watcher
    watcher.stop()


def test_a_new_file_is_told_once(tmp_path: Path, watcher: ImageWatcher, heard: Heard) -> None:
    write_fits(tmp_path / "first.FIT")
    write_fits(tmp_path / "second.fits")
    eventually(lambda: len(heard) == 2)
    image = next(image for image in heard if image["path"].endswith("first.FIT"))
    assert image["path"] == str(tmp_path / "first.FIT")
    assert image["size_kb"] == 5760 / 1024
    assert image["header"]["OBJECT"] == "M 94"
    assert not image["header"].keys() & {"COMMENT", "HISTORY", ""}


def test_what_is_no_fits_file_and_what_lies_deeper_is_ignored(
    tmp_path: Path, watcher: ImageWatcher, heard: Heard
) -> None:
    (tmp_path / "preview.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "deeper").mkdir()
    write_fits(tmp_path / "deeper" / "a.fit")
    write_fits(tmp_path / "last.fit")
    eventually(lambda: heard.names == ["last.fit"])


def test_a_rename_is_told_once_for_the_final_name(
    tmp_path: Path, watcher: ImageWatcher, heard: Heard
) -> None:
    for number in range(5):
        write_fits(tmp_path / f".part{number}.fit").rename(tmp_path / f"{number}.fit")
        write_fits(tmp_path / f"{number}.tmp").rename(tmp_path / f"late {number}.fit")
    write_fits(tmp_path / "last.fit")
    eventually(lambda: "last.fit" in heard.names)
    expected = [f"{number}.fit" for number in range(5)] + [f"late {number}.fit" for number in range(5)]
    assert sorted(heard.names) == sorted([*expected, "last.fit"])


def test_a_slow_writer_is_waited_for(tmp_path: Path, watcher: ImageWatcher, heard: Heard) -> None:
    content = fits_bytes(bytes(100_000), NAXIS1=250, NAXIS2=200)
    with (tmp_path / "slow.fit").open("wb", buffering=0) as file:
        for start in range(0, len(content), 10_000):
            file.write(content[start : start + 10_000])
            time.sleep(_DELAY_S / 3)  # the writer's pace, not a wait for a result
            assert heard == []
    eventually(lambda: heard.names == ["slow.fit"])
    assert heard[0]["size_kb"] == len(content) / 1024


def test_a_file_with_a_pause_in_its_middle_is_told_once_it_is_whole(
    tmp_path: Path, watcher: ImageWatcher, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "a.fit").open("wb", buffering=0) as file:
        file.write(fits_bytes()[:3000])
        eventually(lambda: "cut short" in caplog.text)
        file.write(fits_bytes()[3000:])
    eventually(lambda: heard.names == ["a.fit"])
    assert heard[0]["size_kb"] == 5760 / 1024


def test_an_unreadable_header_is_empty_and_a_warning(
    tmp_path: Path, watcher: ImageWatcher, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.fit").write_bytes(b"no image at all")
    eventually(lambda: len(heard) == 1)
    assert heard[0]["header"] == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_callback_that_fails_does_not_end_the_watching(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    def fail_first(image: dict[str, Any]) -> None:
        heard.append(image)
        if len(heard) == 1:
            raise ValueError("a fault of the script")

    watcher = ImageWatcher(tmp_path, fail_first, debounce_delay=0.05)
    watcher.start()
    write_fits(tmp_path / "a.fit")
    eventually(lambda: len(heard) == 1)
    write_fits(tmp_path / "b.fit")
    eventually(lambda: len(heard) == 2)
    watcher.stop()
    assert "a fault of the script" in caplog.text


def test_a_missing_folder_is_an_error_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watcher = ImageWatcher(tmp_path / "missing", Heard().append)
    watcher.start()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    watcher.stop()


def test_start_and_stop_at_any_time(tmp_path: Path, heard: Heard) -> None:
    before = threading.active_count()
    watcher = ImageWatcher(str(tmp_path), heard.append, 0.05)
    watcher.stop()
    watcher.start()
    watcher.start()
    watcher.stop()
    watcher.stop()
    write_fits(tmp_path / "unseen.fit")
    watcher.start()
    write_fits(tmp_path / "seen.fit")
    eventually(lambda: heard.names == ["seen.fit"])
    watcher.stop()
    assert threading.active_count() == before


def test_stop_forgets_what_waits(tmp_path: Path, heard: Heard) -> None:
    watcher = ImageWatcher(tmp_path, heard.append, debounce_delay=30.0)
    watcher.start()
    write_fits(tmp_path / "a.fit")
    began = time.monotonic()
    watcher.stop()
    assert time.monotonic() - began < 10
    assert heard == []


def test_it_can_be_stopped_by_its_own_callback(tmp_path: Path, heard: Heard) -> None:
    def stop_at_once(image: dict[str, Any]) -> None:
        heard.append(image)
        watcher.stop()

    watcher = ImageWatcher(tmp_path, stop_at_once, debounce_delay=0.1)
    watcher.start()
    threads = threading.active_count()
    write_fits(tmp_path / "a.fit")
    write_fits(tmp_path / "b.fit")
    eventually(lambda: threading.active_count() < threads)
    assert len(heard) == 1


def test_a_folder_behind_a_link_is_watched(tmp_path: Path, heard: Heard) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    watcher = ImageWatcher(tmp_path / "link", heard.append, debounce_delay=0.05)
    watcher.start()
    write_fits(tmp_path / "real" / "a.fit")
    eventually(lambda: len(heard) == 1)
    watcher.stop()
    assert heard[0]["path"] == str(tmp_path / "link" / "a.fit")


def test_many_files_need_no_more_threads_than_one(
    tmp_path: Path, watcher: ImageWatcher, heard: Heard
) -> None:
    before = threading.active_count()
    for number in range(500):
        write_fits(tmp_path / f"{number}.fit")
    assert threading.active_count() == before
    eventually(lambda: len(heard) >= 500)
    assert len(set(heard.names)) == len(heard) == 500


def test_what_was_there_is_not_told_and_a_new_mode_tells_nothing(tmp_path: Path, heard: Heard) -> None:
    before = write_fits(tmp_path / "before.fit")
    watcher = ImageWatcher(tmp_path, heard.append, debounce_delay=0.1)
    watcher.start()
    before.chmod(0o600)
    path = write_fits(tmp_path / "a.fit")
    eventually(lambda: heard.names == ["a.fit"])
    path.chmod(0o600)
    write_fits(tmp_path / "b.fit")
    eventually(lambda: "b.fit" in heard.names)
    watcher.stop()
    assert heard.names == ["a.fit", "b.fit"]


def test_a_file_that_is_written_again_or_moved_in_again_is_told_again(
    tmp_path: Path, watcher: ImageWatcher, heard: Heard
) -> None:
    path = write_fits(tmp_path / "a.fit")
    eventually(lambda: heard.names == ["a.fit"])
    write_fits(path, OBJECT="M 31")
    eventually(lambda: len(heard) == 2)
    assert heard[1]["header"]["OBJECT"] == "M 31"
    path.rename(tmp_path / "away")
    (tmp_path / "away").rename(path)
    eventually(lambda: len(heard) == 3)


def test_a_folder_that_is_removed_and_made_again_is_watched_again(
    tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    watcher = ImageWatcher(folder, heard.append, debounce_delay=0.1)
    watcher.start()
    folder.rmdir()
    eventually(lambda: "cannot be watched for now" in caplog.text)
    folder.mkdir()
    write_fits(folder / "a.fit")
    eventually(lambda: heard.names == ["a.fit"])
    watcher.stop()


def test_where_the_kernel_tells_nothing_listings_are_compared(
    tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    write_fits(tmp_path / "before.fit")
    watcher = ImageWatcher(tmp_path, heard.append, debounce_delay=0.2)
    watcher.backend = "snapshot"
    before = threading.active_count()
    watcher.start()
    assert threading.active_count() == before + 1
    write_fits(tmp_path / "b.part").rename(tmp_path / "b.fit")
    with (tmp_path / "slow.fit").open("wb", buffering=0) as file:
        file.write(fits_bytes()[:3000])
        eventually(lambda: "cut short" in caplog.text)
        eventually(lambda: heard.names == ["b.fit"])
        file.write(fits_bytes()[3000:])
    eventually(lambda: heard.names == ["b.fit", "slow.fit"])
    watcher.stop()


def test_a_fifo_with_a_fits_name_stalls_nothing(tmp_path: Path, watcher: ImageWatcher, heard: Heard) -> None:
    os.mkfifo(tmp_path / "fifo.fit")
    (tmp_path / "loop.fit").symlink_to(tmp_path / "loop.fit")
    write_fits(tmp_path / "a.fit")
    eventually(lambda: heard.names == ["a.fit"])
