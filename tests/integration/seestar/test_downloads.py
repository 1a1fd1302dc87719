"""Downloads from a simulated telescope whose Wi-Fi is weak: whole, or not under their name."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.errors import TransientError
from skyrelay.fits_header import HeaderIncomplete, NotFits, date_obs
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import DownloadIncomplete, FileMissing, FileNotWhole, NameUnsafe, Unreachable
from skyrelay.seestar.telescope import Telescope
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_simulators.telescope.http_files import SendBody, send_part
from support.waiting import eventually

FOLDER = "M 81_sub"


def check_ranges(telescope: SimulatedTelescope, expected: list[str | None]) -> None:
    """Compare the ranges that were asked for; the telescope notes each once it has answered."""

    def asked() -> list[str | None]:
        return [entry.params["range"] for entry in telescope.journal.entries(channel="http")]

    eventually(lambda: len(asked()) >= len(expected))
    assert asked() == expected


def ends_early(*lengths: int) -> SendBody:
    """Send so many bytes of the first answers and end the connection; the later ones whole."""
    left = list(lengths)

    async def send(writer: asyncio.StreamWriter, path: Path, start: int, length: int) -> None:
        if not left:
            await send_part(writer, path, start, length)
            return
        await send_part(writer, path, start, min(length, left.pop(0)))
        await writer.drain()
        writer.close()

    return send


@pytest.fixture
def stack(emmc: Path) -> Path:
    """Give a stack of a size that takes several packets, on the telescope."""
    folder = emmc / "MyWorks" / "M 81"
    folder.mkdir()
    lines = [
        "SIMPLE  = T",
        "BITPIX  = 16",
        "NAXIS   = 3",
        "NAXIS1  = 300",
        "NAXIS2  = 400",
        "NAXIS3  = 3",
        "END",
    ]
    header = "".join(line.ljust(80) for line in lines).encode().ljust(2880)
    data = os.urandom(300 * 400 * 3 * 2)
    path = folder / "CrowdSky_3_M 81_20.0s_LP_20260227.88_HP033810.fit"
    path.write_bytes(header + data + bytes(-len(data) % 2880))
    return path


def test_a_file_arrives_whole_and_alone(simulate: Any, connect: Any, stack: Path, tmp_path: Path) -> None:
    client: Telescope = connect(simulate())
    to = tmp_path / "archive" / "M 81" / stack.name
    assert client.download("M 81", stack.name, to, stack.stat().st_size) == to
    assert to.read_bytes() == stack.read_bytes()
    assert [path.name for path in to.parent.iterdir()] == [stack.name]


@pytest.mark.parametrize("lengths", [(1000,), (2880, 500_000), (0, 0, 100), (1, 1, 1, 1, 1, 1)])
def test_a_body_that_ends_early_is_resumed(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path, lengths: tuple[int, ...]
) -> None:
    telescope = simulate()
    telescope.files.send_body = ends_early(*lengths)
    client: Telescope = connect(telescope)
    to = client.download("M 81", stack.name, tmp_path / stack.name, stack.stat().st_size)
    assert to.read_bytes() == stack.read_bytes()
    arrived = [sum(lengths[:tries]) for tries in range(len(lengths) + 1)]
    check_ranges(telescope, [f"bytes={start}-" if start else None for start in arrived])


def test_a_download_is_resumed_by_the_next_call(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    telescope = simulate()
    telescope.files.send_body = ends_early(300_000, 0, 0, 0)
    client: Telescope = connect(telescope)
    to = tmp_path / stack.name
    with pytest.raises(DownloadIncomplete, match="300000 bytes"):
        client.download("M 81", stack.name, to, stack.stat().st_size)
    assert not to.exists()
    client.download("M 81", stack.name, to, stack.stat().st_size)
    assert to.read_bytes() == stack.read_bytes()
    check_ranges(telescope, [None, *["bytes=300000-"] * 4])


def test_the_rest_of_another_file_is_not_added(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    telescope = simulate()
    telescope.files.send_body = ends_early(300_000, 0, 0, 0)
    client: Telescope = connect(telescope)
    to = tmp_path / stack.name
    with pytest.raises(DownloadIncomplete):
        client.download("M 81", stack.name, to, stack.stat().st_size)
    other = stack.read_bytes()[:2880] + bytes(stack.stat().st_size - 2880)
    stack.write_bytes(other)
    os.utime(stack, (1_000_000_000, 1_000_000_000))
    client.download("M 81", stack.name, to, len(other))
    assert to.read_bytes() == other


def test_bytes_of_unknown_origin_are_not_resumed(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    (tmp_path / f"{stack.name}.part").write_bytes(b"something else")
    client: Telescope = connect(simulate())
    to = client.download("M 81", stack.name, tmp_path / stack.name, stack.stat().st_size)
    assert to.read_bytes() == stack.read_bytes()


def test_a_body_that_never_comes_is_given_up(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    telescope = simulate()
    telescope.files.send_body = ends_early(*[0] * 50)
    client: Telescope = connect(telescope)
    with pytest.raises(DownloadIncomplete):
        client.download("M 81", stack.name, tmp_path / stack.name, stack.stat().st_size)
    check_ranges(telescope, [None] * 3)
    assert not (tmp_path / stack.name).exists()


def test_a_body_that_falls_silent_ends_with_the_time(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    async def falls_silent(writer: asyncio.StreamWriter, path: Path, start: int, _length: int) -> None:
        await send_part(writer, path, start, 5000)
        await asyncio.sleep(30)

    telescope = simulate()
    telescope.files.send_body = falls_silent
    client: Telescope = connect(telescope, reply_s=0.3)
    soon = Deadline.after(timedelta(seconds=1))
    with pytest.raises(DownloadIncomplete):
        client.download("M 81", stack.name, tmp_path / stack.name, stack.stat().st_size, deadline=soon)


def test_a_size_other_than_the_listings_is_not_accepted(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    client: Telescope = connect(simulate())
    with pytest.raises(FileNotWhole, match="its listing says"):
        client.download("M 81", stack.name, tmp_path / stack.name, stack.stat().st_size + 2880)
    assert list(tmp_path.glob("CrowdSky*")) == []


@pytest.mark.parametrize(
    ("kept", "kind"),
    [(0, HeaderIncomplete), (400, HeaderIncomplete), (2880, FileNotWhole), (-1, FileNotWhole)],
)
def test_a_file_cut_short_on_the_telescope_gets_no_name(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path, kept: int, kind: type[Exception]
) -> None:
    stack.write_bytes(stack.read_bytes()[:kept])
    client: Telescope = connect(simulate())
    with pytest.raises(kind):
        client.download("M 81", stack.name, tmp_path / stack.name, stack.stat().st_size)
    assert list(tmp_path.glob("CrowdSky*")) == []


def test_what_is_no_fits_is_refused_as_one(simulate: Any, connect: Any, stack: Path, tmp_path: Path) -> None:
    stack.write_bytes(b"\xff\xd8\xff" * 3000)
    client: Telescope = connect(simulate())
    with pytest.raises(NotFits):
        client.download("M 81", stack.name, tmp_path / stack.name)


def test_a_picture_needs_no_fits_structure(simulate: Any, connect: Any, stack: Path, tmp_path: Path) -> None:
    (stack.parent / "a_thn.jpg").write_bytes(b"\xff\xd8\xff")
    client: Telescope = connect(simulate())
    assert client.download("M 81", "a_thn.jpg", tmp_path / "a.jpg", 3).read_bytes() == b"\xff\xd8\xff"


def test_an_older_copy_stays_until_the_new_one_is_whole(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    to = tmp_path / stack.name
    to.write_bytes(b"older")
    telescope = simulate()
    telescope.files.send_body = ends_early(*[0] * 50)
    client: Telescope = connect(telescope)
    with pytest.raises(DownloadIncomplete):
        client.download("M 81", stack.name, to, stack.stat().st_size)
    assert to.read_bytes() == b"older"


def test_a_missing_file_and_an_unsafe_name_are_told_apart(
    simulate: Any, connect: Any, tmp_path: Path
) -> None:
    client: Telescope = connect(simulate())
    with pytest.raises(FileMissing):
        client.download("M 81", "none.fit", tmp_path / "none.fit")
    with pytest.raises(NameUnsafe):
        client.download("..", "none.fit", tmp_path / "none.fit")
    assert list(tmp_path.glob("none*")) == []


def test_an_archive_that_cannot_be_written_is_named(
    simulate: Any, connect: Any, stack: Path, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_text("a file where a folder should be")
    client: Telescope = connect(simulate())
    with pytest.raises(TransientError, match=r"archive/x\.fit cannot be written"):
        client.download("M 81", stack.name, tmp_path / "archive" / "x.fit")


@pytest.mark.parametrize(
    "name", ["Light_Ω Nebel_20.0s_LP_20260227-225203.fit", "Light_100% #1&2_1s_20260227-225203.fit"]
)
def test_any_name_finds_its_file(simulate: Any, connect: Any, stack: Path, tmp_path: Path, name: str) -> None:
    (stack.parent / name).write_bytes(stack.read_bytes())
    client: Telescope = connect(simulate())
    assert client.download("M 81", name, tmp_path / "x.fit").read_bytes() == stack.read_bytes()


def test_a_header_costs_a_few_kilobytes(simulate: Any, connect: Any, emmc: Path, frames: list[str]) -> None:
    telescope = simulate()
    client: Telescope = connect(telescope)
    header = client.read_header(FOLDER, frames[0])
    assert (header.text("OBJECT"), header.number("EXPTIME")) == ("M 81", 20.0)
    assert date_obs(header) is not None
    check_ranges(telescope, ["bytes=0-5759"])


@pytest.mark.parametrize("cards", [30, 36, 71, 72, 200, 1000])
def test_a_long_header_is_read_to_its_end(simulate: Any, connect: Any, stack: Path, cards: int) -> None:
    lines = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0", *(f"KEY{n:05}= {n}" for n in range(cards)), "END"]
    content = "".join(line.ljust(80) for line in lines).encode()
    stack.write_bytes(content + b" " * (-len(content) % 2880))
    client: Telescope = connect(simulate())
    assert client.read_header("M 81", stack.name).integer(f"KEY{cards - 1:05}") == cards - 1


def test_a_header_that_does_not_end_yet_is_incomplete(simulate: Any, connect: Any, stack: Path) -> None:
    stack.write_bytes(stack.read_bytes()[:400])
    client: Telescope = connect(simulate())
    with pytest.raises(HeaderIncomplete):
        client.read_header("M 81", stack.name)


def test_a_telescope_that_is_away_is_said_to_be(simulate: Any, connect: Any, tmp_path: Path) -> None:
    client: Telescope = connect(simulate(), http_port=1)
    with pytest.raises(Unreachable, match=r"telescopes\[garden\].http_port"):
        client.download("M 81", "x.fit", tmp_path / "x.fit")
