"""What a tick costs by the number of telescopes.

Books with 50, 500 and 5,000 telescopes, each with ten stacked blocks and two ready ones; the
stacker's reconciler looks for what is due (SQLite on this machine's disk, processor time, without the
broker), and the questions that it asks are counted. The write lock is held for as long.

``--postgres`` asks a PostgreSQL of its own in place of SQLite.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from planning import _NOW, frame, portions, start_of, telescope
from rich.console import Console
from rich.table import Table
from sqlalchemy import event, insert

from skyrelay.domain.states import BlockState
from skyrelay.settings import Settings, StackingSettings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.tables import Block, Frame, Telescope
from skyrelay_stacker.reconciling import due_everywhere
from support.postgres_server import find_postgres, running_postgres

TELESCOPES = (50, 500, 5_000)
ROUNDS = 5
_STACKED, _READY = 10, 2


@dataclass
class Counter:
    """How many statements were sent."""

    statements: int = 0

    def count(self, *_: object) -> None:
        """Count one."""
        self.statements += 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one tick."""

    telescopes: int
    due: int
    processor_s: float
    clock_s: float
    statements: int


def main() -> None:
    """Measure and print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="ask a PostgreSQL server in place of SQLite")
    options = parser.parse_args()
    table = Table(title=f"A tick of the stacker's reconciler, median of {ROUNDS}")
    for heading in ("telescopes", "due", "processor time", "by the clock", "statements"):
        table.add_column(heading, justify="right")
    with ExitStack() as running:
        fresh = running.enter_context(databases(postgres=options.postgres))
        for number in TELESCOPES:
            cost = measure(next(fresh), number)
            table.add_row(
                f"{number:,}",
                f"{cost.due:,}",
                f"{1000 * cost.processor_s:.0f} ms",
                f"{1000 * cost.clock_s:.0f} ms",
                f"{cost.statements:,}",
            )
    Console().print(table)


@contextmanager
def databases(*, postgres: bool) -> Iterator[Iterator[str]]:
    """Give URLs of empty databases."""
    programs = find_postgres()
    if postgres and programs is not None:
        with running_postgres(programs) as server:
            yield (server.create_database() for _ in TELESCOPES)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield (f"sqlite:///{Path(folder) / f'{number}.db'}" for number in TELESCOPES)


def measure(url: str, telescopes: int) -> Cost:
    """Give what a tick costs with so many telescopes in the books."""
    store, counter = Store(url), Counter()
    migrate(store)
    fill(store, telescopes)
    event.listen(store.engine, "before_cursor_execute", counter.count)
    settings = Settings(stacking=StackingSettings(idle_s=0))
    processor, clock, due = [], [], 0
    for _ in range(ROUNDS):
        counter.statements = 0
        began, began_clock = time.process_time(), time.monotonic()
        with store.write() as session:
            due = len(due_everywhere(session, settings, _NOW))
        processor.append(time.process_time() - began)
        clock.append(time.monotonic() - began_clock)
    store.close()
    medians = statistics.median(processor), statistics.median(clock)
    return Cost(telescopes, due, *medians, counter.statements)


def fill(store: Store, telescopes: int) -> None:
    """Lay down telescopes, each with blocks that are stacked and some that are ready."""
    with store.write() as session:
        for table, rows in (
            (Telescope, (telescope(number) for number in range(1, telescopes + 1))),
            (Block, blocks(telescopes)),
            (Frame, frames(telescopes)),
        ):
            for some in portions(rows, 2_000):
                session.execute(insert(table), some)


def blocks(telescopes: int) -> Iterator[dict[str, Any]]:
    """Give the rows of all blocks."""
    each = _STACKED + _READY
    for owner in range(1, telescopes + 1):
        for number in range(each):
            start, is_ready = start_of(number), number >= _STACKED
            yield {
                "id": (owner - 1) * each + number + 1,
                "telescope_id": owner,
                "target": "M 81",
                "folder": "M 81_sub",
                "exposure": "20.0s",
                "exposure_s": 20.0,
                "filter": "LP",
                "start_at": start,
                "minutes": 15,
                "utc_offset_min": 0,
                "night": start.date().isoformat(),
                "frame_count": 1,
                "state": BlockState.READY if is_ready else BlockState.STACKED,
                "started_at": None if is_ready else start + timedelta(hours=9),
                "created_at": start,
                "updated_at": start,
            }


def frames(telescopes: int) -> Iterator[dict[str, Any]]:
    """Give one frame of each ready block."""
    each = _STACKED + _READY
    for owner in range(1, telescopes + 1):
        for number in range(_STACKED, each):
            yield frame(owner, number, 0, (owner - 1) * each + number + 1)


if __name__ == "__main__":
    sys.exit(main())
