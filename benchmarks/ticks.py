"""What a tick costs by the number of telescopes.

Books with 50, 500 and 5,000 telescopes, each with ten stacked blocks and two ready ones; the
stacker's reconciler looks for what is due (SQLite on this machine's disk, processor time, without the
broker), and the questions that it asks are counted. The write lock is held for as long.

``--postgres`` asks a PostgreSQL of its own in place of SQLite.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from common import Report, options_of, repeats_of
from planning import _NOW, frame, portions, start_of, telescope
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
    processor_ms: list[float]
    clock_ms: list[float]
    statements: int


def main() -> None:
    """Measure and print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    own = ("--postgres", {"action": "store_true", "help": "ask a PostgreSQL server in place of SQLite"})
    options = options_of(__doc__, own)
    report, rounds = Report("ticks", options), repeats_of(options, ROUNDS)
    with ExitStack() as running:
        fresh = running.enter_context(databases(postgres=options.postgres))
        few, *more = (measure(next(fresh), number, rounds) for number in sizes(options))
    for cost in (few, *more):
        telescopes = f"a tick with {cost.telescopes:,} telescopes, {cost.due:,} due"
        report.add(f"{telescopes}: processor time", cost.processor_ms, few.processor_ms, unit="ms")
        report.add(f"{telescopes}: by the clock", cost.clock_ms, few.clock_ms, unit="ms")
        report.add(f"{telescopes}: statements", cost.statements, few.statements, unit="")
    report.close()


def sizes(options: argparse.Namespace) -> tuple[int, ...]:
    """Give how many telescopes are in each of the books; the first are the reference of the others."""
    return TELESCOPES[:2] if options.quick else TELESCOPES


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


def measure(url: str, telescopes: int, rounds: int) -> Cost:
    """Give what a tick costs with so many telescopes in the books."""
    store, counter = Store(url), Counter()
    migrate(store)
    fill(store, telescopes)
    event.listen(store.engine, "before_cursor_execute", counter.count)
    settings = Settings(stacking=StackingSettings(idle_s=0))
    processor, clock, due = [], [], 0
    for _ in range(rounds):
        counter.statements = 0
        began, began_clock = time.process_time(), time.monotonic()
        with store.write() as session:
            due = len(due_everywhere(session, settings, _NOW))
        processor.append(1000 * (time.process_time() - began))
        clock.append(1000 * (time.monotonic() - began_clock))
    store.close()
    return Cost(telescopes, due, processor, clock, counter.statements)


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
    main()
