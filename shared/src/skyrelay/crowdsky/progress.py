"""Progress bars for what is on its way: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from skyrelay.crowdsky import body


class TransferBars:
    """The bars of a piece of work, drawn on stderr from the first one on; use it as a context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> TransferBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def bar(self, name: str) -> body.Progress | None:
        """Give what shows the progress of one file; `None` where nobody sees it."""
        if self._progress.disable:
            return None
        self._progress.start()
        task = self._progress.add_task(escape(name), total=None)

        def show(done: int, whole: int | None) -> None:
            self._progress.update(task, completed=done, total=whole, visible=done != whole)

        return show


class CountBar:
    """A bar that counts how many of something are done, on a terminal; use it as a context manager."""

    def __init__(self, what: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> CountBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, whole: int) -> None:
        """Show that so many of the whole are done."""
        self._progress.start()
        self._progress.update(self._task, completed=done, total=whole)
