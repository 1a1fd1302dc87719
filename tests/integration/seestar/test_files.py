"""Listing, renaming, deleting and uploading: over SMB by two real servers, and over RPC."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from skyrelay.seestar.errors import (
    FileMissing,
    ListingFailed,
    NameTaken,
    NameUnsafe,
    NoAnswer,
    ReplyLost,
    ServiceDown,
    ShareMissing,
)
from skyrelay.seestar.listing import Route
from skyrelay.seestar.telescope import Telescope, TelescopeAddress
from skyrelay_simulators.telescope import SmbBackend
from skyrelay_simulators.telescope.faults import MixListings
from skyrelay_simulators.telescope.smb_server import find_smbd
from support.left_out import left_out
from support.telescope_wire import mutable, old_firmware, reply, scripted

FOLDER = "M 81_sub"
STACK = "DSO_Stacked_3_M 81_20.0s_20260227_230512"
NEW = "CrowdSky_3_M 81_20.0s_LP_20260227.88_HP033810"


@pytest.fixture(params=[SmbBackend.SMBD, SmbBackend.IMPACKET])
def backend(request: pytest.FixtureRequest) -> SmbBackend:
    """Give each SMB server that this machine has."""
    if request.param is SmbBackend.SMBD and not find_smbd():
        left_out("smbd is not installed: install the package samba")
    return SmbBackend(request.param)


@pytest.fixture
def stacks(emmc: Path) -> Path:
    """Give a folder with one stack and its pictures."""
    folder = emmc / "MyWorks" / "M 81"
    folder.mkdir()
    for suffix in (".fit", ".jpg", "_thn.jpg"):
        (folder / f"{STACK}{suffix}").write_bytes(suffix.encode())
    return folder


def names(folder: Path) -> set[str]:
    """Name the files on the telescope's disk."""
    return {path.name for path in folder.iterdir()}


def test_a_folder_is_listed_with_exact_sizes(
    simulate: Any, connect: Any, emmc: Path, frames: list[str], backend: SmbBackend
) -> None:
    folder = emmc / "MyWorks" / FOLDER
    (folder / "Ω Nebel+1.jpg").write_bytes(b"123")
    (folder / "inner").mkdir()
    client: Telescope = connect(simulate(smb_backend=backend))
    listing = client.list_folder(FOLDER)
    assert (listing.route, listing.odd) == (Route.SMB, 0)
    assert {file.name: file.size_bytes for file in listing.files} == {
        path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()
    }
    assert set(frames) < listing.names
    assert all(file.modified is not None and file.modified.tzinfo for file in listing.files)


def test_folders_are_listed_completely(simulate: Any, connect: Any, emmc: Path, backend: SmbBackend) -> None:
    (emmc / "MyWorks" / "mosaic_M 31_sub").mkdir()
    (emmc / "MyWorks" / "stray.txt").write_text("x")
    client: Telescope = connect(simulate(smb_backend=backend, albums_left_out=frozenset({FOLDER})))
    listing = client.list_targets_folders()
    assert listing.folders == (FOLDER, "mosaic_M 31_sub")
    assert listing.complete


def test_thousands_of_files_are_all_listed(
    simulate: Any, connect: Any, emmc: Path, backend: SmbBackend
) -> None:
    folder = emmc / "MyWorks" / "M 31_sub"
    folder.mkdir()
    for number in range(2500):
        (folder / f"Light_M 31_10.0s_IRCUT_20260101-{number:06}.fit").touch()
    client: Telescope = connect(simulate(smb_backend=backend))
    assert client.list_folder("M 31_sub").names == names(folder)


def test_a_folder_that_is_not_there_is_not_an_empty_one(
    simulate: Any, connect: Any, backend: SmbBackend
) -> None:
    client: Telescope = connect(simulate(smb_backend=backend))
    with pytest.raises(FileMissing):
        client.list_folder("M 82_sub")


def test_a_stack_is_renamed_with_its_pictures(
    simulate: Any, connect: Any, stacks: Path, backend: SmbBackend
) -> None:
    client: Telescope = connect(simulate(smb_backend=backend))
    renamed = client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit")
    assert renamed.left_behind == ()
    assert names(stacks) == {f"{NEW}.fit", f"{NEW}.jpg", f"{NEW}_thn.jpg"}
    assert (stacks / f"{NEW}.fit").read_bytes() == b".fit"


def test_a_picture_that_cannot_follow_stays(
    simulate: Any, connect: Any, stacks: Path, backend: SmbBackend
) -> None:
    (stacks / f"{NEW}.jpg").write_bytes(b"older")
    (stacks / f"{STACK}_thn.jpg").unlink()
    client: Telescope = connect(simulate(smb_backend=backend))
    renamed = client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit")
    assert renamed.left_behind == (f"{STACK}.jpg", f"{STACK}_thn.jpg")
    assert (stacks / f"{NEW}.jpg").read_bytes() == b"older"


def test_a_file_is_never_replaced(simulate: Any, connect: Any, stacks: Path, backend: SmbBackend) -> None:
    (stacks / f"{NEW}.fit").write_bytes(b"older")
    client: Telescope = connect(simulate(smb_backend=backend))
    with pytest.raises(NameTaken):
        client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit")
    with pytest.raises(NameTaken):
        client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit".upper())
    assert (stacks / f"{NEW}.fit").read_bytes() == b"older"
    assert (stacks / f"{STACK}.fit").exists()


def test_what_is_not_there_cannot_be_renamed_or_deleted(
    simulate: Any, connect: Any, stacks: Path, backend: SmbBackend
) -> None:
    client: Telescope = connect(simulate(smb_backend=backend))
    with pytest.raises(FileMissing):
        client.rename("M 81", "none.fit", f"{NEW}.fit")
    with pytest.raises(FileMissing):
        client.delete("M 81", "none.fit")


def test_a_file_is_uploaded_and_deleted(
    simulate: Any, connect: Any, stacks: Path, tmp_path: Path, backend: SmbBackend
) -> None:
    source = tmp_path / "source.fit"
    source.write_bytes(bytes(range(256)) * 1000)
    client: Telescope = connect(simulate(smb_backend=backend))
    client.upload("M 81", "uploaded.fit", source)
    assert (stacks / "uploaded.fit").read_bytes() == source.read_bytes()
    with pytest.raises(NameTaken):
        client.upload("M 81", "uploaded.fit", source)
    client.delete("M 81", "uploaded.fit")
    assert names(stacks) == {f"{STACK}.fit", f"{STACK}.jpg", f"{STACK}_thn.jpg"}


@pytest.mark.parametrize("name", ["../x.fit", "a\\b.fit", "..", "", "a:b.fit"])
def test_unsafe_names_never_leave_the_house(simulate: Any, connect: Any, stacks: Path, name: str) -> None:
    client: Telescope = connect(simulate(smb_backend=SmbBackend.AUTO))
    for attempt in (
        lambda: client.rename("M 81", f"{STACK}.fit", name),
        lambda: client.rename("M 81", name, "x.fit"),
        lambda: client.delete(name, "x.fit"),
        lambda: client.list_folder(name),
        lambda: client.read_header("M 81", name),
    ):
        with pytest.raises((NameUnsafe, FileMissing)):
            attempt()
    assert names(stacks) == {f"{STACK}.fit", f"{STACK}.jpg", f"{STACK}_thn.jpg"}


@pytest.mark.parametrize("share", ["EMMC Images", "Seestar"])
def test_the_share_is_found_under_either_name(
    simulate: Any, connect: Any, share: str, frames: list[str]
) -> None:
    client: Telescope = connect(simulate(smb_backend=SmbBackend.AUTO, share=share))
    assert client.list_folder(FOLDER).names == set(frames)


def test_a_share_of_another_name_is_named_in_the_settings(
    simulate: Any, connect: Any, frames: list[str]
) -> None:
    telescope = simulate(smb_backend=SmbBackend.AUTO, share="Pictures")
    client: Telescope = connect(telescope)
    with pytest.raises(ShareMissing, match=r"telescopes\[garden\].smb_share"):
        client.list_folder(FOLDER, allow_rpc=False)
    assert client.list_folder(FOLDER).route is Route.RPC
    configured: Telescope = connect(telescope, smb_share="Pictures")
    assert configured.list_folder(FOLDER).route is Route.SMB


def test_a_listing_over_a_connection_that_dropped_is_made_again(
    simulate: Any, connect: Any, frames: list[str], backend: SmbBackend
) -> None:
    telescope = simulate(smb_backend=backend)
    with mutable(telescope.endpoint.host, telescope.endpoint.smb_port) as wire:
        client: Telescope = connect(telescope, smb_port=wire.port, reply_s=1.0)
        assert client.list_folder(FOLDER).names == set(frames)
        wire.drop()
        assert client.list_folder(FOLDER, allow_rpc=False).names == set(frames)
        wire.mute()
        assert client.list_folder(FOLDER, allow_rpc=False).names == set(frames)
        assert wire.accepted == 3


def test_a_rename_whose_answer_is_lost_is_seen_to_be_done(
    simulate: Any, connect: Any, stacks: Path, backend: SmbBackend
) -> None:
    telescope = simulate(smb_backend=backend)
    with mutable(telescope.endpoint.host, telescope.endpoint.smb_port) as wire:
        client: Telescope = connect(telescope, smb_port=wire.port, reply_s=1.0)
        wire.mute_when((stacks / f"{NEW}.fit").exists)
        assert client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit").name == f"{NEW}.fit"
    assert f"{NEW}.fit" in names(stacks)


def test_a_rename_that_was_not_done_says_so(simulate: Any, connect: Any, stacks: Path, emmc: Path) -> None:
    telescope = simulate(smb_backend=SmbBackend.AUTO)
    with mutable(telescope.endpoint.host, telescope.endpoint.smb_port) as wire:
        client: Telescope = connect(telescope, smb_port=wire.port, reply_s=1.0)
        client.list_folder("M 81")
        wire.refuse_requests_of(lambda data: NEW.encode("utf-16-le") in data)
        with pytest.raises(NoAnswer):
            client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit")
        assert f"{STACK}.fit" in names(stacks)


def test_a_rename_that_cannot_be_looked_at_stays_ambiguous(simulate: Any, connect: Any, stacks: Path) -> None:
    telescope = simulate(smb_backend=SmbBackend.AUTO)
    with mutable(telescope.endpoint.host, telescope.endpoint.smb_port) as wire:
        client: Telescope = connect(telescope, smb_port=wire.port, reply_s=1.0)
        wire.close_when((stacks / f"{NEW}.fit").exists)
        with pytest.raises(ReplyLost):
            client.rename("M 81", f"{STACK}.fit", f"{NEW}.fit")


def test_a_closed_port_is_not_an_empty_folder(simulate: Any, connect: Any) -> None:
    client: Telescope = connect(simulate())
    with pytest.raises(ServiceDown, match="smb_port"):
        client.list_folder(FOLDER, allow_rpc=False)


# Over RPC


def test_pages_are_put_together(simulate: Any, connect: Any, emmc: Path) -> None:
    folder = emmc / "MyWorks" / "M 31_sub"
    folder.mkdir()
    for number in range(45):
        (folder / f"Light_M 31_10.0s_IRCUT_20260101-2000{number:02}.fit").touch()
    client: Telescope = connect(simulate())
    listing = client.list_folder("M 31_sub")
    assert (listing.route, listing.names) == (Route.RPC, names(folder))
    assert {file.size_bytes for file in listing.files} == {None}


def test_listings_of_one_client_never_mix(simulate: Any, connect: Any, emmc: Path) -> None:
    folders = [emmc / "MyWorks" / f"M {number}_sub" for number in range(4)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for second in range(45):
            (folder / f"Light_M {number}_10.0s_IRCUT_20260101-2000{second:02}.fit").touch()
    client: Telescope = connect(simulate())
    with ThreadPoolExecutor(4) as threads:
        listings = list(threads.map(lambda folder: client.list_folder(folder.name), folders))
    assert [listing.names for listing in listings] == [names(folder) for folder in folders]


def test_folders_over_rpc_are_not_called_complete(simulate: Any, connect: Any, emmc: Path) -> None:
    (emmc / "MyWorks" / "M 31_sub").mkdir()
    client: Telescope = connect(simulate(albums_left_out=frozenset({FOLDER})))
    listing = client.list_targets_folders()
    assert (listing.folders, listing.complete) == (("M 31_sub",), False)


def test_over_rpc_too_an_empty_folder_is_told_from_none(simulate: Any, connect: Any, emmc: Path) -> None:
    (emmc / "MyWorks" / "M 31_sub").mkdir()
    client: Telescope = connect(simulate())
    assert client.list_folder("M 31_sub").files == ()
    with pytest.raises(FileMissing):
        client.list_folder("M 82_sub")


FRAMES = [f"Light_M 31_10.0s_IRCUT_20260101-2000{number:02}.fit" for number in range(25)]


@pytest.mark.parametrize(
    ("pages", "entries"),
    [
        (2, [FRAMES[:20], FRAMES[:5]]),
        (2, [FRAMES[:20], []]),
        (2, [FRAMES[:7], FRAMES[7:12]]),
        (1, [["Light_M 81_20.0s_LP_20260227-225203.fit"]]),
        (-1, []),
        ("many", []),
        (10**9, []),
        (1, [None]),
    ],
    ids=[
        "repeated",
        "short",
        "page not full",
        "another target's",
        "negative",
        "no number",
        "endless",
        "no list",
    ],
)
def test_a_listing_that_another_client_mixed_up_is_refused(pages: object, entries: list[Any]) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        if request["method"] == "get_img_file_page_number":
            return reply(request, pages)
        page = entries[request["params"]["page"]]
        return reply(request, page and [{"name": name, "is_dir": False, "size_k": 1} for name in page])

    with scripted(old_firmware(answer)) as telescope:
        address = TelescopeAddress(telescope.host, telescope.port, smb_port=1)
        with Telescope(address) as client, pytest.raises(ListingFailed):
            client.list_folder("M 31_sub")


def test_odd_names_are_counted_and_kept_out() -> None:
    listed = ["../../etc/passwd", "a\\b", "", "\ud800.fit", "Light_M 31_10.0s_IRCUT_20260101-200000.fit"]

    def answer(request: dict[str, Any]) -> bytes:
        if request["method"] == "get_img_file_page_number":
            return reply(request, 1)
        return reply(request, [{"name": name} for name in listed])

    with scripted(old_firmware(answer)) as telescope:
        address = TelescopeAddress(telescope.host, telescope.port, smb_port=1)
        with Telescope(address) as client:
            listing = client.list_folder("M 31_sub")
    assert (listing.odd, listing.names) == (4, {listed[-1]})
    assert json.dumps(sorted(listing.names))


@pytest.mark.parametrize(
    ("asked", "other"), [(FOLDER, "M 82_sub"), (FOLDER, "M 81"), ("M 81", FOLDER), ("M 81", "M 82")]
)
@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_single_page_of_another_folder_spoils_a_listing(
    simulate: Any, connect: Any, asked: str, other: str, page: int
) -> None:
    telescope = simulate()
    for folder in {asked, other}:
        fill(telescope.emmc.target_folder(folder), 45)
    telescope.switch_on(MixListings(folder=f"MyWorks/{other}", after=page, times=1))
    with pytest.raises(ListingFailed, match=r"another listing|entries"):
        connect(telescope).list_folder(asked)
    assert len(connect(telescope).list_folder(asked).files) >= 45


def fill(folder: Path, count: int) -> None:
    """Lay frames into a folder of frames, stacks into one of stacks."""
    target = folder.name.removesuffix("_sub")
    head = f"Light_{target}_20.0s_LP_" if folder.name.endswith("_sub") else f"DSO_Stacked_9_{target}_20.0s_"
    between = "-" if folder.name.endswith("_sub") else "_"
    for number in range(count):
        (folder / f"{head}20260227{between}2101{number:02d}.fit").touch()
