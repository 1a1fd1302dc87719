"""Fixtures of the cloud agent's tests."""

from support.small_cloud import cloud

__all__ = ["cloud"]
