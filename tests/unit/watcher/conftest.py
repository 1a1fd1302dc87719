"""Fixtures of the watcher's unit tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NOBODY = 65534


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """Have the test meet permissions as an ordinary user does in a folder of its own: root may read all."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        os.seteuid(before)
