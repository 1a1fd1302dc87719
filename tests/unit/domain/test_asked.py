"""Whom discovery asks: what a person may write, and what is refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.domain.asked import Asked, asked_of


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("192.168.1.50", (Asked("192.168.1.50", 4720),)),
        ("192.168.1.50:14720", (Asked("192.168.1.50", 14720),)),
        ("seestar.local", (Asked("seestar.local", 4720),)),
        ("192.168.1.0/30", (Asked("192.168.1.1"), Asked("192.168.1.2"))),
        ("192.168.1.50/30", (Asked("192.168.1.49"), Asked("192.168.1.50"))),
        ("192.168.1.50/32", (Asked("192.168.1.50"),)),
    ],
)
def test_an_address_a_name_a_port_and_a_network_are_read(text: str, asked: tuple[Asked, ...]) -> None:
    assert asked_of(text) == asked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "host:",
        "host:x",
        "host:0",
        "host:70000",
        "10.0.0.0/8",
        "10.0.0.0/33",
        "garden/24",
        "a,b",
        "::1",
    ],
)
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no address|is no network|too many hosts"):
        asked_of(text)


def test_a_home_network_is_asked_whole_and_no_more_than_a_thousand_hosts() -> None:
    assert len(asked_of("192.168.0.0/24")) == 254
    assert len(asked_of("10.0.0.0/22")) == 1022


def test_a_name_is_told_from_an_address() -> None:
    assert [Asked(host).is_name for host in ("seestar.local", "10.0.0.5", "300.1.1.1")] == [True, False, True]


@given(st.text(max_size=30))
def test_whatever_is_written_it_is_read_or_refused(text: str) -> None:
    try:
        found = asked_of(text)
    except ValueError:
        return
    assert all(0 < one.port < 2**16 and one.host for one in found)
