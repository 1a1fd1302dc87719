"""Fixtures for all tests."""

from hypothesis import settings

from support.dashboard_scene import night, scene
from support.database import migrated_database, store
from support.redis_server import redis_server

settings.register_profile("skyrelay", deadline=None)  # how long an example takes says nothing of a rule
settings.load_profile("skyrelay")

__all__ = ["migrated_database", "night", "redis_server", "scene", "store"]
