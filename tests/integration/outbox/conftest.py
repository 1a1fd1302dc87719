"""Fixtures of the outbox's tests."""

from support.node_cloud import node

__all__ = ["node"]
