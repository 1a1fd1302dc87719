"""A share that is mounted nowhere, at a real smbd: listings are the truth, its notices a hint."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.smb_path import SmbPath
from skyrelay_simulators.telescope import SmbBackend
from skyrelay_simulators.telescope.smb_server import SmbServer, find_smbd
from skyrelay_simulators.telescope.spec import TelescopeSpec
from skyrelay_watcher.places import PlaceLost
from skyrelay_watcher.smb_notices import SmbNotices
from skyrelay_watcher.smb_place import SmbPlace, SmbSource
from support.fits_files import fits_bytes, write_fits
from support.left_out import left_out
from support.ports import free_port
from support.waiting import eventually

from .conftest import Home


class Telescope:
    """A telescope's share, which can be taken away and come back at the same address."""

    def __init__(self, emmc: Path) -> None:
        self.works = emmc / "MyWorks"
        (self.works / "M 94_sub").mkdir(parents=True)
        self._spec = TelescopeSpec(
            serial="1d3fe189", root=emmc, smb_backend=SmbBackend.SMBD, smb_port=free_port()
        )
        self.path = SmbPath("127.0.0.1", "EMMC Images", "MyWorks", self._spec.smb_port)
        self._server: SmbServer | None = None

    def come(self) -> None:
        """Be there, and answer."""
        self._server = SmbServer(self._spec)
        self._server.start()
        self._server.await_ready()

    def go(self) -> None:
        """Be gone."""
        if self._server is not None:
            self._server.stop()

    def file(self, name: str) -> Path:
        """Give the place of a sub-frame."""
        return self.works / "M 94_sub" / name


@pytest.fixture
def telescope(tmp_path: Path) -> Iterator[Telescope]:
    """Give a telescope that is there."""
    if find_smbd() is None:
        left_out("smbd is not installed: install the package samba")
    if os.geteuid() != 0:
        left_out("smbd lets guests in only where it may change to their user: it needs root")
    telescope = Telescope(tmp_path / "emmc")
    telescope.come()
    yield telescope
    telescope.go()


def place_of(telescope: Telescope) -> SmbPlace:
    place = SmbSource(telescope.path, "auto").find()
    assert place is not None
    return place


def test_frames_of_a_share_become_events(home: Home, telescope: Telescope) -> None:
    write_fits(telescope.file("before.fit"))
    with home.watcher(watch_path=str(telescope.path)):
        eventually(lambda: home.paths() == ["M 94_sub/before.fit"])
        write_fits(telescope.file(".part.fit")).rename(telescope.file("after.fit"))
        eventually(lambda: "M 94_sub/after.fit" in home.paths())
        (telescope.works / "M 31_sub").mkdir()
        write_fits(telescope.works / "M 31_sub" / "new.fit")
        eventually(lambda: "M 31_sub/new.fit" in home.paths())
        assert (home.root()["state"], home.root()["backend"]) == ("watching", "smb")
    assert len(home.paths()) == 3
    event = home.events()[0]
    assert (event.root, event.folder, event.header["OBJECT"]) == (str(telescope.path), "M 94_sub", "M 94")


def test_a_share_that_goes_and_comes_back_has_only_its_news_told(home: Home, telescope: Telescope) -> None:
    for number in range(10):
        write_fits(telescope.file(f"{number}.fit"))
    with home.watcher(watch_path=str(telescope.path)) as watcher:
        eventually(lambda: len(home.events()) == 10)
        telescope.go()
        eventually(lambda: home.root().get("state") == "offline")
        write_fits(telescope.file("news.fit"))
        telescope.come()
        eventually(lambda: "M 94_sub/news.fit" in home.paths(), within_s=60)
        assert "Traceback" not in watcher.log()
    assert len(home.paths()) == 11


def test_a_share_that_was_not_there_at_the_start_is_waited_for(home: Home, telescope: Telescope) -> None:
    telescope.go()
    write_fits(telescope.file("a.fit"))
    with home.watcher(watch_path=[str(telescope.path), str(home.photos)]):
        eventually(lambda: home.root().get("state") == "offline")
        write_fits(home.photos / "near.fit")
        eventually(lambda: home.paths() == ["near.fit"])
        telescope.come()
        eventually(lambda: "M 94_sub/a.fit" in home.paths(), within_s=60)


def test_half_a_file_is_told_again_when_it_is_whole(home: Home, telescope: Telescope) -> None:
    with home.watcher(watch_path=str(telescope.path)):
        with telescope.file("a.fit").open("wb", buffering=0) as file:
            file.write(fits_bytes()[:3000])
            eventually(lambda: len(home.events()) == 1)
            file.write(fits_bytes()[3000:])
        eventually(lambda: len(home.events()) == 2)
    assert [event.problem for event in home.events()] == ["the file is cut short: 3000 of 5760 bytes", None]


def test_the_server_tells_in_which_folder_something_happened(telescope: Telescope) -> None:
    told: set[str] = set()
    notices = SmbNotices(telescope.path, on_change=told.add, recursive=True)
    notices.start()
    try:
        eventually(lambda: is_told_of(told, telescope, telescope.works))
        notices.follow(["M 94_sub", "not there"])
        eventually(lambda: is_told_of(told, telescope, telescope.works / "M 94_sub"))
        threads = threading.active_count()
        for number in range(50):
            write_fits(telescope.file(f"{number}.fit"))
        assert threading.active_count() == threads, "there is no thread a notice"
        told.clear()
        notices.follow(["M 31_sub"])
        eventually(lambda: is_told_of(told, telescope, telescope.works / "M 31_sub"))
    finally:
        notices.stop()
    assert not notices.alive


def is_told_of(told: set[str], telescope: Telescope, folder: Path) -> bool:
    """Tell whether the folder was told of; files come into it until then: it may not listen yet."""
    folder.mkdir(exist_ok=True)
    write_fits(folder / f"{time.monotonic_ns()}.fit")  # Samba tells of new names only
    return "/".join((str(telescope.path), *folder.relative_to(telescope.works).parts)) in told


def test_a_folder_that_leads_back_up_is_left_out(telescope: Telescope) -> None:
    (telescope.works / "M 94_sub" / "loop").symlink_to(telescope.works)
    (telescope.works / "self").symlink_to(telescope.works)
    (telescope.works / "M 94_sub" / "deep").mkdir()
    place = place_of(telescope)
    try:
        assert [entry.name for entry in place.entries("")] == ["M 94_sub"]
        assert [entry.name for entry in place.entries("M 94_sub")] == ["deep"]
    finally:
        place.close()


def test_what_cannot_be_read_is_said_and_a_dead_server_is_no_word_on_a_file(telescope: Telescope) -> None:
    write_fits(telescope.file("a.fit"))
    os.mkfifo(telescope.file("fifo.fit"))
    place = place_of(telescope)
    try:
        name = f"{place.top}/M 94_sub"
        look, fifo = place.look(f"{name}/a.fit"), place.look(f"{name}/fifo.fit")
        assert look is not None
        assert look.problem is None
        assert fifo is not None
        assert fifo.problem == "the file is empty"
        assert place.look(f"{name}/missing.fit") is None
        with pytest.raises(FileNotFoundError):
            place.mark("missing")
        telescope.go()
        with pytest.raises(PlaceLost):
            place.look(f"{name}/a.fit")
        assert not place.connected
    finally:
        place.close()
