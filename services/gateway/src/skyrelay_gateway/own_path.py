"""Where a page may lead after a login: to our own paths, and nowhere else."""

from __future__ import annotations

from urllib.parse import urlsplit

_LONGEST = 1000


def own_path(wanted: str) -> str:
    """Give the path that was asked for if it is one of ours, else that of the first page.

    Browsers take ``//host``, ``/\\host`` and paths with a tab or a line end in them for other hosts.
    """
    if len(wanted) > _LONGEST or not wanted.isascii() or not wanted.isprintable():
        return "/"
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or " " in wanted:
        return "/"
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else wanted
