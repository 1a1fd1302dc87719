"""Folders over the command port: one cursor for everybody, pages of twenty, albums that forget."""

from __future__ import annotations

from collections.abc import Callable

from skyrelay_simulators.telescope import SimulatedTelescope
from support.raw_seestar_client import RawSeestarClient

from .conftest import MakeTelescope

Connect = Callable[[SimulatedTelescope], RawSeestarClient]


def _fill(telescope: SimulatedTelescope, folder: str, count: int) -> list[str]:
    place = telescope.emmc.target_folder(folder)
    names = [f"Light_{folder.removesuffix('_sub')}_{number:03d}.fit" for number in range(count)]
    for name in names:
        (place / name).write_bytes(bytes(2048))
    return names


def test_a_folder_is_listed_in_pages_of_twenty(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    names = _fill(telescope, "M 81_sub", 45)
    client = connect(telescope)
    assert client.result("get_img_file_page_number", {"dir": "MyWorks/M 81_sub", "skip_avi": False}) == 3
    pages = [client.result("get_img_file_page_name", {"page": page}) for page in range(3)]
    assert [len(page) for page in pages] == [20, 20, 5]
    assert [entry["name"] for page in pages for entry in page] == names
    assert pages[0][0].keys() == {"name", "date", "size_k", "is_dir", "file_cnt"}
    assert (pages[0][0]["size_k"], pages[0][0]["is_dir"]) == (2, False)
    assert client.result("get_img_file_page_name", {"page": 3}) == []


def test_two_listings_at_once_get_each_others_files(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    _fill(telescope, "M 81_sub", 3)
    others = _fill(telescope, "M 82_sub", 2)
    first, second = connect(telescope), connect(telescope)
    first.result("get_img_file_page_number", {"dir": "MyWorks/M 81_sub"})
    second.result("get_img_file_page_number", {"dir": "MyWorks/M 82_sub"})
    assert [entry["name"] for entry in first.result("get_img_file_page_name", {"page": 0})] == others


def test_videos_can_be_left_out(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope()
    (telescope.emmc.target_folder("Lunar") / "moon.avi").write_bytes(b"")
    client = connect(telescope)
    assert client.result("get_img_file_page_number", {"dir": "MyWorks/Lunar", "skip_avi": True}) == 0
    assert client.result("get_img_file_page_number", {"dir": "MyWorks/Lunar", "skip_avi": False}) == 1


def test_folders_that_are_not_there_or_not_ours_are_refused(
    make_telescope: MakeTelescope, connect: Connect
) -> None:
    client = connect(make_telescope())
    for folder in ("MyWorks/nothing", "../", "MyWorks/../../..", "", "x" * 5000):
        expected = 0 if folder == "" else 102
        assert client.code("get_img_file_page_number", {"dir": folder}) == expected, folder
    assert client.code("get_img_file_page_number", {"dir": 7}) == 102
    assert client.code("get_img_file_page_name", {"page": -1}) == 102


def test_albums_forget_some_folders(make_telescope: MakeTelescope, connect: Connect) -> None:
    telescope = make_telescope(albums_left_out=frozenset({"M 82_sub"}))
    _fill(telescope, "M 81_sub", 3)
    _fill(telescope, "M 82_sub", 2)
    groups = connect(telescope).result("get_albums")["list"]
    assert [(entry["name"], entry["count"]) for group in groups for entry in group["files"]] == [
        ("M 81_sub", 3)
    ]
