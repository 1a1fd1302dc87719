"""A real, migrated database of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database with this release's schema once; each test takes a copy, which costs it nothing."""
    file = tmp_path_factory.mktemp("migrated") / "skyrelay.db"
    store = Store(f"sqlite:///{file}")
    migrate(store)
    store.close()
    return file


@pytest.fixture
def store(migrated_database: Path, tmp_path: Path) -> Iterator[Store]:
    """Give a store with this release's schema."""
    file = tmp_path / "skyrelay.db"
    shutil.copyfile(migrated_database, file)
    store = Store(f"sqlite:///{file}")
    yield store
    store.close()
