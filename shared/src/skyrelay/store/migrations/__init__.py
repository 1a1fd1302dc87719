"""Alembic migrations; numbered, one way, each tried on a database with data in it."""
