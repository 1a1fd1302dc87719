"""The work to add frames grows with the frames that are added, not with those that are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event, insert

from skyrelay.domain.frame_facts import FrameFacts, KnownOffset, Sighting, facts_from_name
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.states import FrameState
from skyrelay.domain.utc_offset import OffsetSource
from skyrelay.service import utc_now
from skyrelay.settings import StackingSettings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Frame
from skyrelay.store.telescopes import telescope_of_serial
from skyrelay_stacker.recording import record_frames

EVENING = datetime(2026, 2, 27, 22, 0)  # noqa: DTZ001 - a telescope's wall clock
STACKING = StackingSettings()
Statements = list[tuple[str, Any]]


def frames(count: int, first: int = 0) -> list[FrameFacts]:
    """Give the facts of frames, 300 a night."""
    facts = []
    for number in range(first, first + count):
        night, late = divmod(number, 300)
        name = LightFrameName("M 81", "10.0s", "IRCUT", EVENING + timedelta(days=night, seconds=13 * late))
        sighting = Sighting("M 81_sub", name.build(), 4_152_960, "inventory")
        facts.append(facts_from_name(sighting, name, KnownOffset(timedelta(0), OffsetSource.NEIGHBOUR)))
    return facts


def fill(store: Store, serial: str, count: int) -> int:
    """Lay down recorded frames; give their telescope's id."""
    with store.write() as session:
        telescope = telescope_of_serial(session, serial, utc_now())
        rows = [_row(fact, telescope.id) for fact in frames(count)]
        session.execute(insert(Frame), rows)
        return telescope.id


def _row(fact: FrameFacts, telescope_id: int) -> dict[str, object]:
    return {
        "telescope_id": telescope_id,
        "folder": fact.folder,
        "file_name": fact.file_name,
        "target": fact.name.target,
        "exposure": fact.name.exposure,
        "exposure_s": fact.name.exposure_s,
        "filter": fact.name.filter,
        "saved_local": fact.name.saved_local,
        "start_at": fact.start_at,
        "size_bytes": fact.size_bytes,
        "state": FrameState.OK,
        "seen_by": "inventory",
        "seen_at": utc_now(),
    }


@contextmanager
def statements_of(store: Store) -> Iterator[Statements]:
    """Give what the database is asked inside the ``with``."""
    asked: Statements = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(store.engine, "before_cursor_execute", note)


def asked_for_100_more(store: Store, already: int, serial: str = "1d3fe189") -> Statements:
    telescope_id = fill(store, serial, already)
    with store.write() as session, statements_of(store) as asked:
        assert record_frames(session, telescope_id, frames(100, first=already), STACKING, utc_now()) == 100
    return asked


def test_no_statement_reads_a_table_from_end_to_end(store: Store) -> None:
    asked = asked_for_100_more(store, 900)
    assert any("FROM frames" in statement for statement, _ in asked), "the test sees the statements"
    with store.engine.connect() as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                steps = [str(row[-1]) for row in plan]
                assert not [step for step in steps if step.startswith(("SCAN frames", "SCAN blocks"))], (
                    statement
                )


def test_the_same_is_asked_however_many_frames_there_are(store: Store) -> None:
    few = asked_for_100_more(store, 300, "1d3fe189")
    many = asked_for_100_more(store, 9000, "a3497936")
    assert len(many) == len(few)
    assert len(many) < 150, "one statement a frame, and a few a block"
