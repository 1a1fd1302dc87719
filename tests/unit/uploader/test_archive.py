"""Names from outside on their way to becoming paths, and files on their way to their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyrelay.arrivals import AlreadyArriving
from skyrelay.errors import TransientError
from skyrelay_uploader.archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def keep(archive: Archive, stack_id: int, content: bytes) -> str:
    """Let a file arrive and be kept; give its place."""
    with archive.arriving(stack_id) as folder:
        arrived = folder / "stack.fit"
        arrived.write_bytes(content)
        return archive.keep(arrived, "garden", "M 94", "one name.fit").path


def test_no_file_is_ever_replaced(archive: Archive, tmp_path: Path) -> None:
    places = [keep(archive, 1, b"one"), keep(archive, 2, b"two"), keep(archive, 3, b"one")]

    assert places == ["garden/M 94/one name.fit", "garden/M 94/one name_2.fit", "garden/M 94/one name.fit"]
    assert (tmp_path / "archive" / places[0]).read_bytes() == b"one"
    assert (tmp_path / "archive" / places[1]).read_bytes() == b"two"


def test_one_worker_at_a_time_lets_a_stack_arrive(archive: Archive) -> None:
    with archive.arriving(1), pytest.raises(AlreadyArriving), archive.arriving(1):
        pass
    with archive.arriving(1), archive.arriving(2):
        pass


def test_what_has_arrived_of_a_stack_stays_when_its_worker_fails(archive: Archive) -> None:
    def fail_half_way() -> None:
        with archive.arriving(1) as folder:
            (folder / "stack.fit.part").write_bytes(b"half")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail_half_way()

    with archive.arriving(1) as folder:
        assert (folder / "stack.fit.part").read_bytes() == b"half"
    assert not folder.exists()


def test_a_link_planted_at_the_place_is_not_followed(archive: Archive, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    place = tmp_path / "archive" / "garden" / "M 94"
    place.mkdir(parents=True)
    (place / "one name.fit").symlink_to(victim)

    assert keep(archive, 1, b"one") == "garden/M 94/one name_2.fit"
    assert victim.read_bytes() == b"mine"


def test_a_disk_that_fails_is_a_passing_trouble_that_names_the_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"a file where the archive should be")
    with pytest.raises(TransientError, match="archive"), Archive(tmp_path / "archive").arriving(1):
        pass


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../outside", "garden/../../outside"])
def test_no_path_leads_out_of_the_archive(archive: Archive, path: str) -> None:
    with pytest.raises(ValueError, match="no path in the archive"):
        archive.locate(path)
