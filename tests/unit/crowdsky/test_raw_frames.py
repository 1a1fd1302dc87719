"""Raw frames fall into sessions by chunk, filter, exposure, telescope and object, each into one."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from skyrelay.crowdsky.raw_frames import RawFrame, find_raw_frames, group_raw_frames
from skyrelay.domain.chunk import chunk_of
from support.fits_files import write_fits

START = datetime(2025, 3, 27, 1, 20, 32, 955_368, tzinfo=UTC)


def frame(seconds: float = 0.0, name: str = "", **changes: object) -> RawFrame:
    started_at = START + timedelta(seconds=seconds)
    usual: dict[str, object] = {
        "path": Path(name or f"Light_{seconds}.fit"),
        "size_bytes": 5760,
        "telescope": "S50_1d3fe189",
        "object_name": "M 94",
        "filter_name": "IRCUT",
        "exposure_s": 10.0,
        "started_at": started_at,
        "chunk_key": f"{chunk_of(started_at)}_HP033810",
    }
    return RawFrame(**{**usual, **changes})  # type: ignore[arg-type]


frames = st.builds(
    frame,
    st.integers(0, 3000),
    name=st.sampled_from(["a.fit", "b.fit", "c/a.fit", ""]),
    filter_name=st.sampled_from(["IRCUT", "LP", ""]),
    exposure_s=st.sampled_from([10.0, 20.0, None]),
    telescope=st.sampled_from(["S50_1d3fe189", "S50_99999999"]),
)


@given(st.lists(frames), st.randoms())
def test_each_frame_is_in_one_session_or_left_out_whatever_their_order(
    given_frames: list[RawFrame], random: object
) -> None:
    groups, left_out = group_raw_frames(given_frames)
    shuffled = given_frames.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert sum(len(group.frames) for group in groups) + len(left_out) == len(given_frames)
    assert all(len({each.kind for each in group.frames}) == 1 for group in groups)
    assert all(group.frames for group in groups)
    assert group_raw_frames(shuffled) == (groups, left_out)


def test_a_quarter_of_an_hour_another_filter_and_another_exposure_are_other_sessions() -> None:
    members = [frame(0), frame(11), frame(600), frame(22, filter_name="LP"), frame(33, exposure_s=20.0)]

    groups, left_out = group_raw_frames(members)

    assert [len(group.frames) for group in groups] == [2, 1, 1, 1]
    assert left_out == []
    (identity,) = groups[0].identities
    assert (identity.first_start_at, identity.last_start_at) == (START, START + timedelta(seconds=11))


def test_a_session_that_drifts_over_a_pixels_edge_becomes_two_stacks_each_with_its_own_span() -> None:
    key, next_key = f"{chunk_of(START)}_HP033810", f"{chunk_of(START)}_HP033811"
    members = [frame(0), frame(11), frame(22, chunk_key=next_key), frame(33, chunk_key=next_key)]

    ((group,), _) = group_raw_frames(members)

    assert group.chunk_keys == {key, next_key}
    spans = {tuple(each.chunk_keys): (each.first_start_at, each.last_start_at) for each in group.identities}
    assert spans == {
        (key,): (START, START + timedelta(seconds=11)),
        (next_key,): (START + timedelta(seconds=22), START + timedelta(seconds=33)),
    }


def test_a_copy_goes_once_and_an_equal_name_of_another_frame_is_named() -> None:
    _, left_out = group_raw_frames([frame(0, "a.fit"), frame(0, "b.fit"), frame(11, "c/a.fit")])

    assert [(str(each.path), each.reason) for each in left_out] == [
        ("b.fit", "it is the same frame as a.fit"),
        ("c/a.fit", "a.fit of the same session has the same name: rename one of them"),
    ]


def test_frames_are_found_in_folders_and_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    (tmp_path / "M 94_sub").mkdir()
    good = write_fits(tmp_path / "M 94_sub" / "Light_M 94_10.0s_IRCUT_20250326-212046.FIT")
    write_fits(tmp_path / "M 94_sub" / "DSO_Stacked_3_M 94_10.0s_20250326_212046.fit")
    undated = write_fits(tmp_path / "Light_undated.fit", DATE_OBS=None)
    cut = write_fits(tmp_path / "Light_cut.fit", bytes(100_000), NAXIS1=500, NAXIS2=100)
    os.truncate(cut, 50_000)
    page = tmp_path / "page.txt"
    page.write_text("<html>")
    (tmp_path / "Light_loop.fit").symlink_to(tmp_path / "Light_loop.fit")
    os.mkfifo(tmp_path / "Light_pipe.fit")

    frames, left_out = find_raw_frames([tmp_path, good, page])

    assert [each.path for each in frames] == [good]
    assert frames[0].chunk_key == "20250327.05_HP033810"
    reasons = {each.path.name: each.reason for each in left_out}
    assert "no DATE-OBS" in reasons[undated.name]
    assert "it is cut short: 50000 bytes" in reasons[cut.name]
    assert "no FITS header" in reasons["page.txt"]
    assert "it is no file" in reasons["Light_pipe.fit"]
    assert "cannot be read" in reasons["Light_loop.fit"]
