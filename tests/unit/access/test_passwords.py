"""How passwords and codes are kept."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.access.passwords import Hasher, new_setup_code, plain_code
from skyrelay.access.sessions import printable


@pytest.fixture(scope="module")
def hasher() -> Hasher:
    return Hasher()


def test_a_password_is_kept_as_argon2id_with_as_much_memory_as_rfc_9106_asks_for(hasher: Hasher) -> None:
    kept = hasher.hash("a dark sky over the garden")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert hasher.verify(kept, "a dark sky over the garden")
    assert not hasher.verify(kept, "a dark sky over the Garden")


@pytest.mark.parametrize("kept", [None, "", "no hash at all", "$argon2id$v=19$m=65536,t=3,p=4$x$y"])
def test_where_nothing_is_kept_nothing_is_right(hasher: Hasher, kept: str | None) -> None:
    assert not hasher.verify(kept, "")
    assert not hasher.verify(kept, "no hash at all")


def test_a_code_is_read_however_it_is_typed() -> None:
    code = new_setup_code()
    assert re.fullmatch(r"[A-HJ-KM-NP-Z2-9]{4}-[A-HJ-KM-NP-Z2-9]{4}", code)
    typed = (
        code,
        code.lower(),
        code.replace("-", ""),
        f" {code.replace('-', ' - ')} ",
        code.replace("-", "–"),
    )
    assert {plain_code(each) for each in typed} == {code.replace("-", "")}


@given(st.text())
def test_what_is_written_down_stays_in_its_line(text: str) -> None:
    written = printable(text)
    assert len(written) == len(text)
    assert written.isprintable()
