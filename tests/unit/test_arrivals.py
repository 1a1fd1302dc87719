"""Names from outside become single components of a path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.arrivals import safe_component


@pytest.mark.parametrize(
    "name",
    [
        "M 94",
        "mosaic_M 31",
        "NGC 7000+IC 5070",
        "Ørion Nebel",
        "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit",
    ],
)
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert safe_component(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f"),
        (".arriving", "_.arriving"),
        ("new\nline\x00null\x1b[31m", "new_line_null_[31m"),
        ("right\u202eto left", "right_to left"),
        ("surrogate\udcff", "surrogate_"),
        ("con.fit", "_con.fit"),
        ("  trailing dots. . .", "trailing dots"),
    ],
)
def test_a_hostile_name_becomes_a_plain_one(name: str, safe: str) -> None:
    assert safe_component(name) == safe


def test_a_long_name_is_cut_keeps_its_ending_and_stays_its_own() -> None:
    one, other = (safe_component("ä" * 300 + letter + ".fit") for letter in "ab")
    assert one != other
    assert one.endswith(".fit")
    assert len(one.encode()) <= 200


@given(st.text())
def test_every_name_becomes_one_component_of_a_path(name: str) -> None:
    safe = safe_component(name)
    assert safe not in {"", ".", ".."}
    assert "/" not in safe
    assert "\0" not in safe
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 200
    assert Path("archive", safe).parent == Path("archive")
