"""A folder is not listed again only when its last listing surely held all that its time stands for."""

from __future__ import annotations

import pytest

from skyrelay_watcher.folder_marks import SETTLED_AFTER_S, FolderMarks
from skyrelay_watcher.places import Mark

_MARK, _NEWER = Mark(1, 2, 100), Mark(1, 2, 101)


class Clock:
    """Seconds that pass when we say so."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def marks(clock: Clock) -> FolderMarks:
    return FolderMarks(clock)


def list_it(marks: FolderMarks, mark: Mark) -> None:
    marks.note("M 94_sub", mark, marks.now_s(), ["M 94_sub/deep"])


def test_an_unknown_folder_is_listed(marks: FolderMarks) -> None:
    assert marks.unchanged_since("M 94_sub", _MARK) is None
    assert "M 94_sub" not in marks


def test_a_folder_is_listed_until_its_time_of_change_is_old(marks: FolderMarks, clock: Clock) -> None:
    list_it(marks, _MARK)
    assert marks.unchanged_since("M 94_sub", _MARK) is None, "a file may have come in the same second"
    clock.now_s += SETTLED_AFTER_S - 0.1
    list_it(marks, _MARK)
    assert marks.unchanged_since("M 94_sub", _MARK) is None
    clock.now_s += 0.1
    list_it(marks, _MARK)
    assert marks.unchanged_since("M 94_sub", _MARK) == ("M 94_sub/deep",)


@pytest.mark.parametrize("other", [_NEWER, Mark(9, 2, 100), Mark(1, 9, 100), Mark(1, 2, 99)])
def test_any_other_mark_has_it_listed_and_begins_anew(marks: FolderMarks, clock: Clock, other: Mark) -> None:
    list_it(marks, _MARK)
    clock.now_s += SETTLED_AFTER_S
    list_it(marks, _MARK)
    assert marks.unchanged_since("M 94_sub", other) is None
    list_it(marks, other)
    assert marks.unchanged_since("M 94_sub", other) is None


def test_what_is_dropped_or_cleared_is_listed(marks: FolderMarks, clock: Clock) -> None:
    for forget in (lambda: marks.drop("M 94_sub"), marks.clear):
        list_it(marks, _MARK)
        clock.now_s += SETTLED_AFTER_S
        list_it(marks, _MARK)
        forget()
        assert marks.unchanged_since("M 94_sub", _MARK) is None


def test_files_that_may_grow_are_kept_until_they_are_whole_and_never_without_end(marks: FolderMarks) -> None:
    for number in range(5_000):
        marks.note_unfinished(f"{number}.fit", unfinished=True)
    assert len(marks.unfinished()) == 1_000
    marks.note_unfinished("7.fit", unfinished=False)
    marks.note_unfinished("never seen.fit", unfinished=False)
    assert "7.fit" not in marks.unfinished()
