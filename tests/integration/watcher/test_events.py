"""What the system says of a folder reaches whoever is told, from Linux or through watchdog's observer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from skyrelay_watcher.inotify_events import InotifyEvents
from skyrelay_watcher.native_events import NativeEvents
from skyrelay_watcher.places import Hints, Listener
from skyrelay_watcher.quiet_paths import QuietPaths
from support.fits_files import write_fits
from support.waiting import eventually


@dataclass
class Told:
    """Keeps what is told."""

    top: Path
    quiet: QuietPaths = field(default_factory=lambda: QuietPaths(0.0))
    folders: set[str] = field(default_factory=set)
    arrived: set[str] = field(default_factory=set)
    due: set[str] = field(default_factory=set)

    def hints(self) -> Hints:
        """Give what keeps it."""
        return Hints(self.quiet, self._folder, self._folder, lambda path: self.arrived.add(self._short(path)))

    def files(self) -> set[str]:
        """Give the files that something happened to so far."""
        self.due |= {self._short(quiet.path) for quiet in self.quiet.take(10_000, 0.0)}
        return self.due

    def _folder(self, path: str) -> None:
        self.folders.add(self._short(path))

    def _short(self, path: str) -> str:
        return str(Path(path).relative_to(self.top))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture(params=[InotifyEvents, NativeEvents])
def events(request: pytest.FixtureRequest, tmp_path: Path, told: Told) -> Iterator[Listener]:
    """Hear a folder and all below it, each way in turn."""
    listener: Listener = request.param(tmp_path, recursive=True, hints=told.hints())
    listener.start()
    yield listener
    listener.stop()
    assert not listener.alive


def test_files_are_told_of_when_made_moved_and_changed(tmp_path: Path, told: Told, events: Listener) -> None:
    path = write_fits(tmp_path / "a.fit")
    write_fits(tmp_path / "b.part").rename(tmp_path / "b.fit")
    (tmp_path / "c.jpg").write_bytes(b"")
    eventually(lambda: {"a.fit", "b.fit"} <= told.files())
    told.due.clear()
    write_fits(path, OBJECT="M 31")
    eventually(lambda: told.files() == {"a.fit"})
    assert told.arrived >= {"a.fit", "b.fit"}
    assert events.alive


def test_a_name_that_is_given_up_is_dropped(tmp_path: Path, told: Told, events: Listener) -> None:
    told.quiet = slow = QuietPaths(60.0)
    events.stop()
    listener = type(events)(tmp_path, recursive=True, hints=told.hints())  # type: ignore[call-arg] # both take them
    listener.start()
    write_fits(tmp_path / "a.fit").rename(tmp_path / "b.fit")
    eventually(lambda: f"{tmp_path}/b.fit" in slow)
    assert f"{tmp_path}/a.fit" not in slow
    listener.stop()


def test_folders_are_heard_under_their_present_name(tmp_path: Path, told: Told, events: Listener) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    eventually(lambda: "old" in told.folders)
    (tmp_path / "old").rename(tmp_path / "new")
    eventually(lambda: "new" in told.folders)
    write_fits(tmp_path / "new" / "deep" / "a.fit")
    eventually(lambda: "new/deep/a.fit" in told.files())
    assert events.alive


def test_a_folder_that_was_removed_and_made_again_is_heard(tmp_path: Path, told: Told) -> None:
    events = InotifyEvents(tmp_path, recursive=True, hints=told.hints())
    events.start()
    for turn in range(20):
        (tmp_path / "sub" / "deep").mkdir(parents=True)
        eventually(lambda: "sub" in told.folders)
        write_fits(tmp_path / "sub" / "deep" / f"{turn}.fit")
        told.folders.clear()
        shutil.rmtree(tmp_path / "sub")
    (tmp_path / "sub").mkdir()
    eventually(lambda: "sub" in told.folders)
    write_fits(tmp_path / "sub" / "last.fit")
    eventually(lambda: "sub/last.fit" in told.files())
    assert events.alive
    events.stop()


def test_a_folder_that_is_gone_is_not_heard(tmp_path: Path, told: Told) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    events = InotifyEvents(folder, recursive=True, hints=told.hints())
    events.start()
    assert events.alive
    folder.rmdir()
    eventually(lambda: not events.alive)
    events.stop()


def test_events_that_the_kernel_threw_away_have_everything_looked_at(tmp_path: Path, told: Told) -> None:
    events = InotifyEvents(tmp_path, recursive=True, hints=told.hints())
    events.start()
    (tmp_path / "unheard").mkdir()
    events.on_queue_overflow()
    assert "." in told.folders
    events.stop()


@pytest.mark.parametrize("way", [InotifyEvents, NativeEvents])
def test_what_is_not_there_cannot_be_heard(
    tmp_path: Path, told: Told, way: type[InotifyEvents] | type[NativeEvents]
) -> None:
    with pytest.raises(OSError, match="No such file"):
        way(tmp_path / "missing", recursive=False, hints=told.hints()).start()
