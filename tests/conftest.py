"""Fixtures for all tests."""

from support.database import store
from support.redis_server import redis_server

__all__ = ["redis_server", "store"]
