"""A listing compared with the journal finds what is new, and takes nothing for gone on thin evidence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skyrelay_watcher.folder_marks import SETTLED_AFTER_S, FolderMarks
from skyrelay_watcher.folder_scan import FolderScan
from skyrelay_watcher.local_place import LocalSource
from skyrelay_watcher.spool import FileKey, Sighting, Spool
from support.fits_files import write_fits

_NOW = datetime(2025, 3, 27, 1, 30, tzinfo=UTC)
_ROOT = "photos"


class Shelf:
    """A folder, its journal, and the scans that compare them."""

    def __init__(self, top: Path, journal: Spool) -> None:
        self.top, self.journal = top, journal
        self.offered: list[str] = []
        self.now_s = 0.0
        self.marks = FolderMarks(lambda: self.now_s)

    def scan(self, *, may_be_emptied: bool = False) -> FolderScan:
        """Begin a scan of what is there now."""
        place = LocalSource(self.top, "snapshot").find()
        assert place is not None
        self.offered.clear()
        return FolderScan(
            _ROOT,
            place,
            recursive=True,
            journal=self.journal,
            epoch="first",
            offer=lambda path, _stamp: self.offered.append(str(Path(path).relative_to(self.top))),
            marks=self.marks,
            may_be_emptied=may_be_emptied,
            now=_NOW,
        )

    def tell_all(self, problem: str | None = None) -> None:
        """Scan, and write down that all that was offered has been published."""
        run(self.scan().everything())
        for path in self.offered:
            folder, _, name = path.rpartition("/")
            stamp = LocalSource(self.top, "snapshot").find().stamp(f"{self.top}/{path}")  # type: ignore[union-attr] # it is there
            assert stamp is not None
            self.journal.add([Sighting(FileKey(_ROOT, folder, name), stamp, problem, "{}")])
        self.journal.mark_published(self.journal.oldest(1_000), "first")


def run(steps: Iterator[None]) -> None:
    """Go through a scan."""
    for _step in steps:
        pass


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    top = tmp_path / "photos"
    (top / "M 94_sub").mkdir(parents=True)
    with Spool(tmp_path / "spool.db") as journal:
        yield Shelf(top, journal)


def gone(shelf: Shelf) -> set[str]:
    known = {folder: shelf.journal.known_in(_ROOT, folder) for folder in ("", "M 94_sub")}
    return {name for files in known.values() for name, file in files.items() if file.is_gone}


def test_only_what_is_new_or_changed_is_offered(shelf: Shelf) -> None:
    write_fits(shelf.top / "M 94_sub" / "a.fit")
    write_fits(shelf.top / "b.fit")
    shelf.tell_all()
    assert sorted(shelf.offered) == ["M 94_sub/a.fit", "b.fit"]
    run(shelf.scan().everything())
    assert shelf.offered == []
    write_fits(shelf.top / "b.fit", bytes(3000))
    run(shelf.scan().everything())
    assert shelf.offered == ["b.fit"]


def test_an_unchanged_folder_is_not_listed_and_a_changed_one_is(shelf: Shelf) -> None:
    folder = shelf.top / "M 94_sub"
    write_fits(folder / "a.fit")
    shelf.tell_all()
    shelf.now_s += SETTLED_AFTER_S
    run(shelf.scan().changes())
    os.truncate(
        folder / "a.fit", 100
    )  # shows in no folder's time: that is how one sees that it is not listed
    shelf.now_s += SETTLED_AFTER_S
    run(shelf.scan().changes())
    assert shelf.offered == []
    write_fits(folder / "b.fit")
    run(shelf.scan().changes())
    assert sorted(shelf.offered) == ["M 94_sub/a.fit", "M 94_sub/b.fit"]


def test_a_file_that_was_half_written_is_looked_at_in_an_unchanged_folder(shelf: Shelf) -> None:
    write_fits(shelf.top / "half.fit")
    shelf.tell_all(problem="cut short")
    for _pass in range(2):
        shelf.now_s += SETTLED_AFTER_S
        run(shelf.scan().everything())
    assert shelf.offered == []
    write_fits(shelf.top / "half.fit", bytes(3000))
    run(shelf.scan().changes())
    assert shelf.offered == ["half.fit"]


def test_files_and_folders_that_are_gone_are_noted_and_known_when_they_return(shelf: Shelf) -> None:
    write_fits(shelf.top / "a.fit")
    write_fits(shelf.top / "M 94_sub" / "b.fit")
    write_fits(shelf.top / "stays.fit")
    shelf.tell_all()
    away = shelf.top.parent / "away"
    away.mkdir()
    (shelf.top / "a.fit").rename(away / "a.fit")
    (shelf.top / "M 94_sub").rename(away / "M 94_sub")
    run(shelf.scan().everything())
    assert gone(shelf) == {"a.fit", "b.fit"}
    (away / "a.fit").rename(shelf.top / "a.fit")
    (away / "M 94_sub").rename(shelf.top / "M 94_sub")
    run(shelf.scan().everything())
    assert (gone(shelf), shelf.offered) == (set(), [])


@pytest.mark.parametrize("may_be_emptied", [True, False])
def test_an_empty_root_means_gone_only_where_it_can_be_meant(shelf: Shelf, may_be_emptied: bool) -> None:
    path = write_fits(shelf.top / "a.fit")
    shelf.tell_all()
    path.unlink()
    (shelf.top / "M 94_sub").rmdir()
    run(shelf.scan(may_be_emptied=may_be_emptied).everything())
    assert gone(shelf) == ({"a.fit"} if may_be_emptied else set())


def test_one_folder_is_listed_with_those_in_it_that_nobody_has_seen(shelf: Shelf) -> None:
    shelf.tell_all()
    write_fits(shelf.top / "M 94_sub" / "a.fit")
    (shelf.top / "new" / "deep").mkdir(parents=True)
    write_fits(shelf.top / "new" / "deep" / "b.fit")
    run(shelf.scan().one(""))
    assert shelf.offered == ["new/deep/b.fit"]
