"""Fixtures for the tests in a browser."""

from support.browser import chromium, desktop, phone, plain_phone

__all__ = ["chromium", "desktop", "phone", "plain_phone"]
