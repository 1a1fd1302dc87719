"""What a person at a terminal sees while a script works; into a file or a pipe goes no progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timezone
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from skyrelay.direct.planning import BlockPlan
from skyrelay.direct.summaries import ResultDict
from skyrelay.seestar.stack_run import StackRun


class Reporter:
    """Tells how far a telescope is with its blocks.

    Parameters
    ----------
    telescope
        Its name.
    console
        Where it is written to.
    """

    def __init__(self, telescope: str, console: Console) -> None:
        self._telescope = telescope
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._done = 0

    def preview(self, target: str, plans: Sequence[BlockPlan], skipped: int) -> None:
        """Print what would be stacked."""
        title = (
            f"{target} on {self._telescope}: {len(plans)} blocks would be stacked, {skipped} are too short"
        )
        if not plans:
            self._console.print(escape(title))
            return
        self._console.print(preview_table(title, plans))

    @contextmanager
    def progress(self, target: str, blocks: int) -> Iterator[Self]:
        """Show a bar in the ``with``, if this is a terminal."""
        if not self._console.is_terminal or self._console.quiet or not blocks:
            yield self
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        with Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True) as bar:
            self._progress = bar
            self._task = bar.add_task(escape(f"{target} on {self._telescope}"), total=100.0 * blocks)
            try:
                yield self
            finally:
                self._progress = None

    def begin(self, plan: BlockPlan) -> None:
        """Say which block it is now."""
        if self._progress is not None and self._task is not None:
            start = plan.as_dict()["block_start"]
            words = f"{plan.key.target} {start:%H:%M} on {self._telescope}"
            self._progress.update(self._task, description=escape(words), completed=100.0 * self._done)

    def show(self, run: StackRun) -> None:
        """Say how far the present block is."""
        if self._progress is not None and self._task is not None and run.percent is not None:
            self._progress.update(self._task, completed=100.0 * self._done + run.percent)

    def end(self, result: ResultDict) -> None:
        """Say what became of it."""
        self._done += 1
        if self._progress is not None and self._task is not None:
            what = result.get("output_file") or result.get("error") or result["status"]
            self._progress.console.print(escape(f"{result['block_start']:%H:%M} {what}"))
            self._progress.update(self._task, completed=100.0 * self._done)


def preview_table(title: str, plans: Sequence[BlockPlan]) -> Table:
    """Draw blocks as a table, their times as the telescope's clock has them."""
    table = Table(title=escape(title), title_justify="left", min_width=len(title))
    for heading in ("Date", "Block", "Frames", "Exposure", "Filter", "Total"):
        table.add_column(heading, justify="right" if heading in {"Frames", "Total"} else "left")
    for plan in plans:
        zone = timezone(plan.offset)
        start, end = plan.key.start.astimezone(zone), plan.key.end.astimezone(zone)
        table.add_row(
            f"{start:%Y-%m-%d}",
            f"{start:%H:%M}–{end:%H:%M}",
            str(len(plan.files)),
            escape(plan.key.exposure),
            escape(plan.key.filter),
            f"{plan.total_s:g} s",
        )
    return table
