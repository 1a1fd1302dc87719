"""No text that comes from outside leads a browser to another host."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay_gateway.own_path import own_path

HERE = "http://sky.lan:8474/login"
# What browsers read in ways of their own, in any order.
TRICKY = st.text(st.sampled_from("/\\\t\n\r @:.?#%;a2fe\x00\u2028é"), max_size=12)


@pytest.mark.parametrize("path", ["/", "/docs", "/?night=2026-03-01", "/a/b#c", "/x?next=//y", "/a@b:c"])
def test_our_own_paths_stay(path: str) -> None:
    assert own_path(path) == path


def as_browsers_read(path: str) -> str:
    """Give the host that a browser goes to: back slashes are slashes to it, tabs and line ends nothing."""
    for dropped in "\t\n\r":
        path = path.replace(dropped, "")
    return urlsplit(urljoin(HERE, path.strip(" \x00").replace("\\", "/"))).netloc


@given(st.one_of(st.text(max_size=40), TRICKY, TRICKY.map("/{}".format), TRICKY.map("https:{}".format)))
def test_whatever_is_asked_for_the_browser_stays_here(wanted: str) -> None:
    path = own_path(wanted)
    assert path.startswith("/")
    assert path.isprintable()
    assert as_browsers_read(path) == "sky.lan:8474"
