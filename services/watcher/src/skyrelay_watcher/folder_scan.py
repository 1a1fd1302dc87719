"""What lies below a root, compared with what was said of it: events are hints, this is the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from skyrelay.logs import get_logger
from skyrelay_watcher.fits_look import Stamp
from skyrelay_watcher.folder_marks import FolderMarks
from skyrelay_watcher.places import Entry, Kind, Mark, Place
from skyrelay_watcher.spool import Known, Spool

_log = get_logger(__name__)


class FolderScan:
    """Walks one root, a step at a time, so that the one who walks can do other things between.

    Parameters
    ----------
    root
        As configured; the journal's key.
    place
        What is there now.
    recursive
        Whether folders below it count. Symbolic links are not followed.
    journal
        What was said; files and folders that are gone are noted in it.
    epoch
        Of the stream; `None` while it is not known.
    offer
        Told the path and stamp of each FITS file that has something new to say.
    marks
        What the folders looked like last.
    may_be_emptied
        Whether a root without anything in it means that somebody emptied it; else it is likelier a
        mount point without its mount, and nothing is noted.
    now
        Aware UTC time.
    """

    def __init__(
        self,
        root: str,
        place: Place,
        *,
        recursive: bool,
        journal: Spool,
        epoch: str | None,
        offer: Callable[[str, Stamp | None], None],
        marks: FolderMarks,
        may_be_emptied: bool,
        now: datetime,
    ) -> None:
        self._root, self._place, self._recursive = root, place, recursive
        self._journal, self._epoch, self._offer, self._marks = journal, epoch, offer, marks
        self._now = now
        self._believable = may_be_emptied
        self._visited: set[str] = set()
        self._unlistable: set[str] = set()

    def everything(self) -> Iterator[None]:
        """List the whole root, then note the folders that are gone; a step is one directory entry."""
        yield from self._walk([""], self._listed)
        if self._believable:
            self._note_gone_folders()
        self._journal.forget_gone(self._now)

    def changes(self) -> Iterator[None]:
        """List the folders whose mark is another than before, and look at the files that may yet grow."""
        yield from self._walk([""], self._listed_if_changed)
        for path in self._marks.unfinished():
            stamp = self._place.stamp(path)
            if stamp is not None:
                self._offer(path, stamp)
            yield

    def below(self, folder: str) -> Iterator[None]:
        """List one folder (relative to the root) and those below it."""
        yield from self._walk([folder], self._listed)

    def one(self, folder: str) -> Iterator[None]:
        """List one folder, and those in it that nobody has seen yet."""
        yield from self._walk([folder], self._listed, only_new=True)

    def _walk(
        self, folders: list[str], visit: Callable[[str, list[str]], Iterator[None]], *, only_new: bool = False
    ) -> Iterator[None]:
        while folders:
            place = folders.pop()
            inside: list[str] = []
            try:
                yield from visit(place, inside)
            except OSError as error:  # a failed listing is no empty folder
                self._fail(place, error)
            folders += [folder for folder in inside if not (only_new and folder in self._marks)]

    def _fail(self, folder: str, error: OSError) -> None:
        self._unlistable.add(folder)
        self._marks.drop(folder)
        if not isinstance(error, FileNotFoundError):  # gone between listing and looking: that is nothing odd
            _log.warning(
                "a folder cannot be listed", folder=repr(folder), root=self._root, problem=error.strerror
            )

    def _listed_if_changed(self, folder: str, inside: list[str]) -> Iterator[None]:
        unchanged = self._marks.unchanged_since(folder, self._place.mark(folder))
        if unchanged is None:
            yield from self._listed(folder, inside)
        else:
            inside += unchanged
            yield

    def _listed(self, folder: str, inside: list[str]) -> Iterator[None]:
        mark, began_s = self._place.mark(folder), self._marks.now_s()
        known = self._journal.known_in(self._root, folder)
        present: set[str] = set()
        prefix = f"{folder}/" if folder else ""
        for entry in self._place.entries(folder):
            self._believable = True
            if entry.kind is Kind.FITS:
                present.add(entry.name)
                self._meet(f"{prefix}{entry.name}", entry, known)
            elif entry.kind is Kind.FOLDER and self._recursive:
                inside.append(f"{prefix}{entry.name}")
            yield
        self._note(folder, known, present, mark, began_s, inside)

    def _meet(self, path: str, entry: Entry, known: Mapping[str, Known]) -> None:
        before = known.get(entry.name)
        if before is None or entry.stamp is None or not before.covers(entry.stamp, self._epoch):
            self._offer(f"{self._place.top}/{path}", entry.stamp)
        elif before.problem is not None:
            self._marks.note_unfinished(f"{self._place.top}/{path}", unfinished=True)

    def _note(
        self,
        folder: str,
        known: Mapping[str, Known],
        present: set[str],
        mark: Mark,
        began_s: float,
        inside: list[str],
    ) -> None:
        self._visited.add(folder)
        self._marks.note(folder, mark, began_s, inside)
        gone = {name for name, was in known.items() if not was.is_gone} - present
        if gone and self._believable:
            self._journal.note_gone(self._root, folder, gone, self._now)
        back = {name for name, was in known.items() if was.is_gone} & present
        if back:
            self._journal.note_back(self._root, folder, back)

    def _note_gone_folders(self) -> None:
        for folder in self._journal.folders(self._root):
            if folder not in self._visited and not self._may_be_there(folder):
                self._journal.note_folder_gone(self._root, folder, self._now)

    def _may_be_there(self, folder: str) -> bool:
        return any(
            folder == place or not place or folder.startswith(f"{place}/") for place in self._unlistable
        )
