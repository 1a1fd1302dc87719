"""One look tells whole from cut short, and opens nothing but regular files."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from pathlib import Path

import pytest

from skyrelay_watcher.fits_look import Look, is_fits_name, look_at, stamp_of
from support.fits_files import fits_bytes, write_fits


def look(path: Path) -> Look:
    """Look at a file that is there."""
    found = look_at(str(path))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.fit", True),
        ("a.FITS", True),
        ("a.Fit", True),
        (".fits", True),
        ("a.fit.tmp", False),
        ("a.jpg", False),
        ("fit", False),
    ],
)
def test_names(name: str, expected: bool) -> None:
    assert is_fits_name(name) is expected


def test_a_whole_file(tmp_path: Path) -> None:
    found = look(write_fits(tmp_path / "a.fit"))
    assert found.problem is None
    assert found.header is not None
    assert found.header.text("OBJECT") == "M 94"
    assert found.header_sha256 == hashlib.sha256(fits_bytes()[:2880]).hexdigest()
    assert found.stamp.size_bytes == 5760


@pytest.mark.parametrize(
    ("size", "cut_short"), [(5759, True), (2880, True), (400, False), (100, False), (0, False)]
)
def test_a_file_that_ends_too_soon(tmp_path: Path, size: int, cut_short: bool) -> None:
    path = tmp_path / "a.fit"
    path.write_bytes(fits_bytes()[:size])
    found = look(path)
    assert found.problem
    assert found.cut_short is cut_short
    assert (found.header is not None) is cut_short


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.fit"
    path.write_bytes(b"\xff\xd8\xff" * 100_000)
    assert "no FITS" in (look(path).problem or "")


def test_a_header_that_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.fit"
    path.write_bytes(fits_bytes()[:80])
    os.truncate(path, 10 * 2**30)  # sparse: it would take 10 GB to read
    assert "no END" in (look(path).problem or "")


def test_what_is_no_regular_file_is_not_looked_at(tmp_path: Path) -> None:
    write_fits(tmp_path / "good.fit")
    (tmp_path / "link.fit").symlink_to(tmp_path / "good.fit")
    (tmp_path / "folder.fit").mkdir()
    os.mkfifo(tmp_path / "fifo.fit")
    for name in ("link.fit", "folder.fit", "fifo.fit", "missing.fit", "nul\0.fit"):
        assert look_at(f"{tmp_path}/{name}") is None, name
        assert stamp_of(f"{tmp_path}/{name}") is None, name


def test_a_socket_is_not_looked_at() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{folder}/a.fit")
        assert look_at(f"{folder}/a.fit") is None


def test_a_file_without_permission_is_a_problem_that_lasts(unprivileged_folder: Path) -> None:
    path = write_fits(unprivileged_folder / "a.fit")
    path.chmod(0)
    found = look(path)
    assert found.problem == "the file cannot be read: Permission denied"
    assert not found.may_pass


@pytest.mark.parametrize("modified_ns", [-(2**60), 2**62])
def test_any_time_that_a_file_claims_is_taken(tmp_path: Path, modified_ns: int) -> None:
    path = write_fits(tmp_path / "a.fit")
    os.utime(path, ns=(0, modified_ns))
    assert look(path).problem is None


def test_a_folder_on_the_way_that_became_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    write_fits(tmp_path / "outside" / "a.fit")
    write_fits(tmp_path / "root" / "real" / "a.fit")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    top = str(tmp_path / "root")
    assert look_at(f"{top}/link/a.fit", top) is None
    assert look_at(f"{top}/real/a.fit", top) is not None
