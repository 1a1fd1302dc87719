"""Entity tags: whether the caller has this answer already (RFC 9110, section 13)."""

from __future__ import annotations

import re

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Tell whether an ``If-None-Match`` header names ``tag`` (compared weakly, as the header asks)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag.removeprefix("W/") in _TAG.findall(if_none_match[:4096])
