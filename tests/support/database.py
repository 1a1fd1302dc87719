"""A real, migrated database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store with this release's schema."""
    store = Store(f"sqlite:///{tmp_path / 'skyrelay.db'}")
    migrate(store)
    yield store
    store.close()
