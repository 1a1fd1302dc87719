"""Fixtures for all tests, and their order."""

import pytest
from hypothesis import settings

from support.dashboard_scene import night, scene
from support.database import migrated_database, store
from support.redis_server import redis_server

settings.register_profile("skyrelay", deadline=None)  # how long an example takes says nothing of a rule
settings.load_profile("skyrelay")

__all__ = ["migrated_database", "night", "redis_server", "scene", "store"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: at the end of a run none is left over that the other workers wait for."""
    items.sort(key=lambda item: item.get_closest_marker("system") is None)
