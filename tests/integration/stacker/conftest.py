"""Fixtures for the stacker's tests against simulated telescopes."""

from support.telescopes import make_telescope
from support.workshop import home

__all__ = ["home", "make_telescope"]
