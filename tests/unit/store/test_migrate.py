"""The migrations make exactly the tables that the models speak of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import IntegrityError

from skyrelay.errors import TransientError
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated, current_head, migrate
from skyrelay.store.tables import Base, Delivery, Destination, Stack

_WHAT_TO_DO = (
    "the tables in skyrelay/store/tables and the migrations in skyrelay/store/migrations/versions have "
    "drifted apart: add a migration that makes them"
)


def test_the_current_head_is_the_last_of_the_chain() -> None:
    config = Config()
    config.set_main_option("script_location", "skyrelay.store:migrations")
    assert current_head() == ScriptDirectory.from_config(config).get_current_head()


_MIGRATING = """
import sys
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated, migrate
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(store)
check_migrated(store)
"""


_INDEXES = {
    "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


_A_NIGHT = """
INSERT INTO telescopes (id, name, rpc_port, http_port, smb_port, smb_share, timezone, state, state_reason,
    lease_fence, created_at)
VALUES (1, 'garden', 4700, 80, 445, 'auto', 'auto', 'ready', '', 0, CURRENT_TIMESTAMP);
INSERT INTO blocks (id, telescope_id, target, folder, exposure, exposure_s, filter, start_at, minutes,
    utc_offset_min, night, frame_count, state, reason, requested, attempts, needs_you, created_at, updated_at)
VALUES (1, 1, 'M 94', 'M 94_sub', '10.0s', 10, 'LP', CURRENT_TIMESTAMP, 15, 0, '2025-03-26', 5, 'stacked', '',
    false, 1, false, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP);
INSERT INTO stacks (id, block_id, telescope_id, folder, original_name, crowdsky_name, chunk_key, frames_input,
    frames_aligned, exposure_total_s, first_start_at, last_end_at, fetch_attempts, created_at)
VALUES (1, 1, 1, 'M 94', 'DSO_Stacked_5', 'CrowdSky_5', '20250327.05', 5,
    5, 50, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0, CURRENT_TIMESTAMP);
INSERT INTO deliveries (id, stack_id, destination, state, reason, attempts, needs_you, ask_first,
    created_at, updated_at)
VALUES (1, 1, 'crowdsky', 'accepted', '', 1, false, false, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)
"""


@pytest.fixture
def empty_store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


def indexes(connection: Connection) -> set[str]:
    """Give the definition of each index, the partial ones' conditions included."""
    found = {" ".join(sql.split()) for sql in connection.scalars(text(_INDEXES[connection.dialect.name]))}
    return {sql for sql in found if "alembic_version" not in sql}


def test_the_migrations_make_the_tables(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    assert not differences, f"{_WHAT_TO_DO}\n" + "\n".join(map(repr, differences))


def test_the_migrations_make_the_indexes_with_their_conditions(store: Store) -> None:
    with store.writing_engine.begin() as connection:
        found = indexes(connection)
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
        wanted = indexes(connection)
    assert found == wanted, _WHAT_TO_DO
    assert any("WHERE" in sql and "'stacking'" in sql for sql in found)


def test_migrating_again_changes_nothing(store: Store) -> None:
    with store.write() as session:
        session.add(Destination(name="crowdsky"))
    migrate(store)
    check_migrated(store)
    with store.read() as session:
        assert session.get(Destination, "crowdsky") is not None


def test_a_database_of_the_first_schema_keeps_what_it_holds(empty_store: Store) -> None:
    migrate(empty_store, to="0001")
    with empty_store.write() as session:
        for statement in _A_NIGHT.split(";"):
            session.execute(text(statement))
    migrate(empty_store)
    check_migrated(empty_store)
    test_the_migrations_make_the_tables(empty_store)
    with empty_store.write() as session:
        stack = session.scalars(select(Stack)).one()
        delivery = session.scalars(select(Delivery)).one()
        assert (stack.crowdsky_name, delivery.stack_id, delivery.state) == (
            "CrowdSky_5",
            stack.id,
            "accepted",
        )
        columns = {column.name: getattr(stack, column.name) for column in Stack.__table__.columns}
        again = {**columns, "id": 2, "original_name": "DSO_Stacked_6"}
        session.add(Stack(**again))  # a second stack of the same block
    with pytest.raises(IntegrityError), empty_store.write() as session:
        session.execute(text("DELETE FROM stacks"))  # what refers to them is watched again


def test_a_migration_is_one_transaction_from_the_first_look_on(empty_store: Store) -> None:
    """Between two of them another process could migrate, too."""
    begun: list[object] = []
    event.listen(empty_store.engine, "begin", begun.append)
    migrate(empty_store)
    assert len(begun) == 1


def test_several_that_migrate_at_once_wait_for_each_other(database_url: str) -> None:
    command = [sys.executable, "-c", _MIGRATING, database_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert ([process.returncode for process in processes], errors) == ([0] * 4, [""] * 4)


def test_an_empty_database_says_what_to_run(empty_store: Store) -> None:
    with pytest.raises(TransientError, match=r"has schema none.*run `skyrelay migrate`"):
        check_migrated(empty_store)


def test_the_schema_of_another_release_is_refused(store: Store) -> None:
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(TransientError, match="has schema 9999, this release needs"):
        check_migrated(store)
