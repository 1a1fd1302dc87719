"""The 200 broken files of `support.broken_fits` before the class and before the service: neither stops."""

from __future__ import annotations

import re
from pathlib import Path

from skyrelay_watcher import ImageWatcher
from support.broken_fits import Answer, broken_files
from support.fits_files import write_fits
from support.waiting import eventually

from .conftest import Home

FILES = broken_files()
_MORE_MEMORY_KB = 64_000  # what a service may take more than before: a header has 288 kB at most


def names_of(*answers: Answer) -> set[str]:
    """Name the files that are answered so."""
    return {broken.name for broken in FILES if broken.answer in answers}


def test_the_class_tells_of_each_regular_file_and_goes_on(tmp_path: Path) -> None:
    heard: dict[str, dict[str, object]] = {}
    watcher = ImageWatcher(
        tmp_path, lambda image: heard.update({Path(image["path"]).name: image["header"]}), 0.2
    )
    watcher.start()
    try:
        for broken in FILES:
            broken.write(tmp_path)
        expected = {broken.name for broken in FILES} - names_of(Answer.NOT_OPENED, Answer.CUT_SHORT)
        eventually(lambda: expected <= heard.keys(), within_s=60)
        write_fits(tmp_path / "good.fit")
        eventually(lambda: "good.fit" in heard)
    finally:
        watcher.stop()
    assert heard.keys() == {*expected, "good.fit"}
    assert {name for name in expected if not heard[name]} == names_of(Answer.INCOMPLETE, Answer.NOT_FITS)


def test_the_service_tells_each_regular_file_once_in_bounded_memory(home: Home) -> None:
    with home.watcher() as watcher:
        eventually(home.watches)
        before_kb = peak_kb(watcher.pid)
        for broken in FILES:
            broken.write(home.photos)
        expected = {broken.name for broken in FILES} - names_of(Answer.NOT_OPENED)
        eventually(lambda: expected <= set(home.paths()), within_s=60)
        write_fits(home.photos / "good.fit")
        eventually(lambda: "good.fit" in home.paths())
        assert peak_kb(watcher.pid) - before_kb < _MORE_MEMORY_KB
    events = {event.path: event.problem for event in home.events()}
    assert events.keys() == {*expected, "good.fit"}
    assert {name for name, problem in events.items() if problem is None} == {
        *names_of(Answer.WHOLE),
        "good.fit",
    }


def peak_kb(pid: int) -> int:
    """Give the most memory that a process has held so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    assert found is not None
    return int(found[1])
