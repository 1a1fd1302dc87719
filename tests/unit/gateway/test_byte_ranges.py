"""Which bytes a Range header asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay_gateway.byte_ranges import ByteRange, NotSatisfiable, parse_range
from skyrelay_gateway.etags import is_known


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=5-", ByteRange(5, 100)),
        ("bytes=-5", ByteRange(95, 100)),
        ("bytes=-500", ByteRange(0, 100)),
        ("bytes=90-5000", ByteRange(90, 100)),
        ("BYTES = 1 - 2", ByteRange(1, 3)),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str, wanted: ByteRange) -> None:
    assert parse_range(header, 100) == wanted


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=²-"],
)
def test_what_is_no_single_range_means_the_whole_file(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=-1", 0)])
def test_a_range_behind_the_end_is_refused(header: str, size: int) -> None:
    with pytest.raises(NotSatisfiable):
        parse_range(header, size)


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_no_header_leads_out_of_the_file(text: str, size: int) -> None:
    try:
        part = parse_range("bytes=" + text, size)
    except NotSatisfiable:
        return
    assert part is None or 0 <= part.start < part.end <= size


def test_a_tag_is_known_in_any_form_that_names_it() -> None:
    assert is_known('"a", W/"b"', '"b"')
    assert is_known("*", '"b"')
    assert is_known('"b"', 'W/"b"')
    assert not is_known('"bb"', '"b"')
    assert not is_known(None, '"b"')
