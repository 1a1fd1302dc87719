"""Paths on the telescope: joined from checked names only, written for each way there."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.seestar.errors import NameUnsafe
from skyrelay.seestar.paths import (
    bare_name,
    batch_stack_name,
    checked_name,
    folder_of_works_path,
    http_path,
    is_safe_name,
    works_path,
)

_UNWRITABLE = ["a\x7f", "\ud800", "a\ufffd", "a" * 256, "Ω" * 128]
NAMES = st.text(min_size=1, max_size=60).filter(is_safe_name)


@pytest.mark.parametrize(
    "name",
    [
        *_UNWRITABLE,
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "..\\x",
        "a\\b",
        "a:b",
        "a*",
        "a?",
        'a"',
        "<a",
        "a|b",
        "a\0",
        "a\n",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    assert not is_safe_name(name)
    with pytest.raises(NameUnsafe):
        checked_name(name)
    with pytest.raises(NameUnsafe):
        works_path("M 81", name)
    with pytest.raises(NameUnsafe):
        http_path(name, "a.fit")


@pytest.mark.parametrize(
    "name", ["M 81_sub", "Ω Nebel", "C+14", "...", "a..b", "mosaic_M 31", "100%", "#1", "&"]
)
def test_the_telescopes_names_are_fine(name: str) -> None:
    assert checked_name(name) == name


@given(NAMES, NAMES)
def test_paths_read_back(folder: str, name: str) -> None:
    path = works_path(folder, name)
    assert path.count("/") == 2
    assert bare_name(path) == name
    assert folder_of_works_path(works_path(folder)) == folder
    assert unquote(http_path(folder, name)) == "/" + path
    assert http_path(folder, name).isascii()
    assert not {" ", "?", "#"} & set(http_path(folder, name))


@pytest.mark.parametrize(
    "path", ["", "MyWorks", "MyWorks/", "MyWorks/a/b", "Other/a", "MyWorks/..", "/etc/passwd"]
)
def test_another_path_names_no_folder(path: str) -> None:
    assert folder_of_works_path(path) is None


@pytest.mark.parametrize(
    ("firmware", "expected"),
    [
        (2427, "a.fit"),
        (2774, "a.fit"),
        (2775, "MyWorks/M 81_sub/a.fit"),
        (2889, "MyWorks/M 81_sub/a.fit"),
        (None, "MyWorks/M 81_sub/a.fit"),
    ],
)
def test_the_firmware_decides_how_a_frame_is_named(firmware: int | None, expected: str) -> None:
    assert batch_stack_name("M 81_sub", "a.fit", firmware) == expected
