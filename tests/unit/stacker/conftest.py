"""Fixtures for the stacker's tests."""

from support.workshop import home

__all__ = ["home"]
