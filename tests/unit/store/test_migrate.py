"""The migrations make exactly the tables that the models speak of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from skyrelay.errors import TransientError
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated, migrate
from skyrelay.store.tables import Base, Destination

_WHAT_TO_DO = (
    "the tables in skyrelay/store/tables and the migrations in skyrelay/store/migrations/versions have "
    "drifted apart: add a migration (or, before the first release, change 0001) that makes them"
)

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
