"""What the server's rows become, whatever it writes into them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.crowdsky.stacks import ServerStack, StackUpload

ROW = {
    "id": 7,
    "chunk_key": "20250327.05_HP033810",
    "object_name": "M 94",
    "telescope_id": "S50_1d3fe189",
    "filter_name": "IRCUT",
    "date_obs_start": "2025-03-27 01:20:32",
    "date_obs_end": "2025-03-27 01:26:57",
    "n_frames_input": 32,
    "n_frames_aligned": 31,
    "total_exptime": 320.0,
    "ra_deg": 193.04166,
    "dec_deg": 40.970556,
    "file_size_bytes": 12_447_360,
    "created_at": "2025-03-27 03:00:01",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def test_a_row_is_read() -> None:
    stack = ServerStack.from_row(ROW | {"n_stars_detected": 4711})

    assert stack == ServerStack(
        id=7,
        chunk_key="20250327.05_HP033810",
        object_name="M 94",
        telescope_id="S50_1d3fe189",
        filter_name="IRCUT",
        date_obs_start=datetime(2025, 3, 27, 1, 20, 32, tzinfo=UTC),
        date_obs_end=datetime(2025, 3, 27, 1, 26, 57, tzinfo=UTC),
        n_frames_input=32,
        n_frames_aligned=31,
        total_exptime_s=320.0,
        ra_deg=193.04166,
        dec_deg=40.970556,
        file_size_bytes=12_447_360,
        created_at="2025-03-27 03:00:01",
    )


def test_a_row_of_text_says_the_same() -> None:
    """PHP's database driver may give every number as text."""
    as_text = {name: str(value) for name, value in ROW.items()}

    assert ServerStack.from_row(as_text) == ServerStack.from_row(ROW)


def test_an_empty_row_says_nothing() -> None:
    assert ServerStack.from_row({}) == ServerStack()
    assert ServerStack.from_row(dict.fromkeys(ROW)) == ServerStack()


@pytest.mark.parametrize("name", ROW)
@given(nonsense=JSON)
def test_nonsense_in_one_field_spoils_no_other(name: str, nonsense: object) -> None:
    stack = ServerStack.from_row(ROW | {name: nonsense})

    others = {field for field in ServerStack.__slots__ if not name.startswith(field.removesuffix("_s"))}
    good = ServerStack.from_row(ROW)
    assert {field: getattr(stack, field) for field in others} == {
        field: getattr(good, field) for field in others
    }


@pytest.mark.parametrize("wrong", ["NaN", float("inf"), True, [], "1e999", "12 m"])
def test_what_is_no_number_is_not_known(wrong: object) -> None:
    assert ServerStack.from_row({"ra_deg": wrong}).ra_deg is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2025-03-27T01:20:32.955", datetime(2025, 3, 27, 1, 20, 32, 955_000, tzinfo=UTC)),
        ("2025-03-27T01:20:32Z", datetime(2025, 3, 27, 1, 20, 32, tzinfo=UTC)),
        ("2025-03-26T21:20:32-04:00", datetime(2025, 3, 27, 1, 20, 32, tzinfo=UTC)),
        ("0000-00-00 00:00:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        (1743038432, None),
    ],
)
def test_times_are_utc_or_unknown(written: object, meant: datetime | None) -> None:
    assert ServerStack.from_row({"date_obs_start": written}).date_obs_start == meant


def test_an_upload_wants_times_with_a_zone() -> None:
    naive = datetime(2025, 3, 27, 1, 20, 32)  # noqa: DTZ001 - the mistake under test

    with pytest.raises(ValueError, match="no time zone"):
        StackUpload(Path("stack.fit"), "stack.fit", date_obs_start=naive)
    StackUpload(
        Path("stack.fit"), "stack.fit", date_obs_start=naive.replace(tzinfo=timezone(timedelta(hours=-4)))
    )
