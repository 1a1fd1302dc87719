"""The pure functions of `skyrelay.crowdsky.chunks`, as they are publicly documented."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skyrelay import crowdsky
from skyrelay.crowdsky import chunks
from skyrelay.domain.chunk import PIXELS, chunk_start, healpix_pixel
from skyrelay.domain.light_frame import LightFrameName
from skyrelay.domain.stack_name import CrowdSkyLegacyName, CrowdSkyName
from support.strategies import exposures, extensions, filters, frame_counts, instants, seconds, targets

_VIENNA = ZoneInfo("Europe/Vienna")
_DIVISORS = [minutes for minutes in range(1, 61) if 60 % minutes == 0]


@pytest.fixture
def server_in_vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process live in Vienna (UTC+1 in winter) for a while."""
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(hour: int, minute: int, second: int = 0, day: int = 27) -> datetime:
    return datetime(2026, 2, day, hour, minute, second)  # noqa: DTZ001 - the telescope's wall clock


def frame(moment: datetime, exposure: str = "20.0s", filter_: str = "LP", **more: Any) -> dict[str, Any]:
    name = LightFrameName("M 81", exposure, filter_, moment.replace(tzinfo=None)).build()
    return {"filename": name, "exposure": exposure, "filter": filter_, "datetime": moment, **more}


# -- parse_light_filename -------------------------------------------------------------------------------


def test_a_light_frames_name_is_taken_apart() -> None:
    assert chunks.parse_light_filename("Light_M 81_20.0s_LP_20260227-225203.fit") == {
        "target": "M 81",
        "exposure": "20.0s",
        "filter": "LP",
        "datetime": local(22, 52, 3),
    }


@pytest.mark.parametrize(
    ("file_name", "target", "exposure", "filter_"),
    [
        ("Light_M 81_10.0s_IRCUT_20250607-221746.fit", "M 81", "10.0s", "IRCUT"),
        (
            "Light_NGC 2244 Satellite Cluster_10.0s_LP_20260227-225203.fit",
            "NGC 2244 Satellite Cluster",
            "10.0s",
            "LP",
        ),
        ("Light_Some_Target_20.0s_LP_20260227-225203.fit", "Some_Target", "20.0s", "LP"),
        ("Light_mosaic_M 31_10.0s_LP_20260227-225203.fit", "mosaic_M 31", "10.0s", "LP"),
        ("Light_C_2023 A3 (T-A)_10.0s_LP_20260227-225203.fit", "C_2023 A3 (T-A)", "10.0s", "LP"),
        ("Light_M 81_20s_LP_20260227-225203.fit", "M 81", "20s", "LP"),
        ("Light_M 81_20.0s_L2_20260227-225203.FITS", "M 81", "20.0s", "L2"),
        ("Light_M 81_20.0s_20260227-225203.fit", "M 81", "20.0s", ""),
        (f"Light_{'β' * 200}_20.0s_LP_20260227-225203.fit", "β" * 200, "20.0s", "LP"),
    ],
)
def test_names_seen_in_the_wild(file_name: str, target: str, exposure: str, filter_: str) -> None:
    parsed = chunks.parse_light_filename(file_name)
    assert parsed is not None
    assert (parsed["target"], parsed["exposure"], parsed["filter"]) == (target, exposure, filter_)


@pytest.mark.parametrize(
    "file_name",
    [
        "random_file.jpg",
        "DSO_Stacked_38_M 81_20.0s_20260227_225203.fit",
        "Light_M 81_20.0s_LP_20260227-225203.jpg",
        "Light_M 81_20.0s_LP_20260227-225203_thn.jpg",
        "Light_M 81_20.0s_LP_20260230-225203.fit",
        "Light_M 81_20.0s_LP_20260227-246000.fit",
    ],
)
def test_any_other_name_gives_none(file_name: str) -> None:
    assert chunks.parse_light_filename(file_name) is None


@given(targets, exposures, filters, seconds, extensions)
def test_what_a_name_was_built_of_is_what_is_parsed(
    target: str, exposure: str, filter_: str, moment: datetime, extension: str
) -> None:
    name = LightFrameName(target, exposure, filter_, moment, extension)
    try:
        built = name.build()
    except ValueError:  # no unambiguous name can be made of these parts
        return
    expected = {"target": target, "exposure": exposure, "filter": filter_, "datetime": moment}
    assert chunks.parse_light_filename(built) == expected
    match = chunks.LIGHT_RE.match(built)
    assert match is not None
    assert match.groups()[:3] == (target, exposure, filter_ or None)


# -- group_frames_into_blocks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "minutes", "start"),
    [
        (local(22, 52, 3), 15, local(22, 45)),
        (local(23, 0), 15, local(23, 0)),
        (local(23, 0, 1), 15, local(23, 0)),
        (local(22, 52), 30, local(22, 30)),
        (local(22, 59, 59), 60, local(22, 0)),
        (local(22, 52, 3), 1, local(22, 52)),
    ],
)
def test_blocks_are_aligned_to_the_clock(moment: datetime, minutes: int, start: datetime) -> None:
    blocks = chunks.group_frames_into_blocks([frame(moment)], minutes)
    assert list(blocks) == [(start, "20.0s", "LP")]
    assert blocks[start, "20.0s", "LP"] == {
        "block_start": start,
        "block_end": start + timedelta(minutes=minutes),
        "exposure": "20.0s",
        "filter": "LP",
        "files": [frame(moment)["filename"]],
        "frame_count": 1,
    }


def test_other_exposures_and_filters_make_blocks_of_their_own() -> None:
    frames = [frame(local(22, 45, 10)), frame(local(22, 46), "10.0s", "IRCUT"), frame(local(22, 50, 20))]
    blocks = chunks.group_frames_into_blocks(frames)
    assert {key[1:]: block["frame_count"] for key, block in blocks.items()} == {
        ("20.0s", "LP"): 2,
        ("10.0s", "IRCUT"): 1,
    }


def test_a_blocks_files_are_sorted() -> None:
    frames = [frame(local(22, minute)) for minute in (55, 45, 50)]
    (block,) = chunks.group_frames_into_blocks(frames).values()
    assert block["files"] == sorted(each["filename"] for each in frames)


def test_no_frames_make_no_blocks() -> None:
    assert chunks.group_frames_into_blocks([]) == {}


@pytest.mark.parametrize("minutes", [0, 7, 45, 90, -15])
def test_a_length_that_does_not_tile_the_hour_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="no block length"):
        chunks.group_frames_into_blocks([frame(local(22, 45))], minutes)


def test_when_the_clocks_go_back_the_hour_that_comes_twice_makes_two_blocks() -> None:
    twice = datetime(2026, 10, 25, 2, 10)  # noqa: DTZ001 - a wall clock
    summer, winter = timedelta(hours=2), timedelta(hours=1)
    blocks = chunks.group_frames_into_blocks(
        [frame(twice, utc_offset=summer), frame(twice, utc_offset=winter)]
    )
    starts = sorted(key[0] for key in blocks)
    assert [start.utcoffset() for start in starts] == [summer, winter]
    assert starts[1] - starts[0] == timedelta(hours=1)
    assert [chunks.local_dt_to_chunk_str(start) for start in starts] == ["20261025.00", "20261025.04"]


def test_frames_with_and_without_an_offset_are_never_mixed() -> None:
    frames = [frame(local(22, 45), utc_offset=timedelta(hours=1)), frame(local(22, 50))]
    with pytest.raises(ValueError, match="some frames carry a utc_offset"):
        chunks.group_frames_into_blocks(frames)


_frames = st.lists(
    st.builds(
        frame,
        st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31)).map(  # noqa: DTZ001 - a wall clock
            lambda moment: moment.replace(microsecond=0)
        ),
        st.sampled_from(["10.0s", "20.0s"]),
        st.sampled_from(["IRCUT", "LP"]),
    ),
    max_size=40,
    unique_by=lambda one: one["filename"],
)


@given(_frames, st.sampled_from(_DIVISORS), st.randoms())
def test_each_frame_lands_in_exactly_one_block_in_whatever_order_they_come(
    frames: list[dict[str, Any]], minutes: int, random: Any
) -> None:
    blocks = chunks.group_frames_into_blocks(frames, minutes)
    landed = [name for block in blocks.values() for name in block["files"]]
    assert sorted(landed) == sorted(one["filename"] for one in frames)
    by_name = {one["filename"]: one for one in frames}
    for (start, exposure, filter_), block in blocks.items():
        assert block["block_end"] - start == timedelta(minutes=minutes)
        for name in block["files"]:
            assert start <= by_name[name]["datetime"] < block["block_end"]
            assert (by_name[name]["exposure"], by_name[name]["filter"]) == (exposure, filter_)
    shuffled = list(frames)
    random.shuffle(shuffled)
    assert chunks.group_frames_into_blocks(shuffled, minutes) == blocks


@given(instants, st.sampled_from(_DIVISORS))
def test_blocks_tile_time(instant: datetime, minutes: int) -> None:
    moment = instant.replace(tzinfo=None, microsecond=0, fold=0)
    ((start, _, _),) = chunks.group_frames_into_blocks([frame(moment)], minutes)
    (before,) = chunks.group_frames_into_blocks([frame(start - timedelta(seconds=1))], minutes).values()
    assert before["block_end"] == start


# -- chunk keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "chunk"),
    [
        (local(22, 45), "20260227.87"),
        (local(0, 30, day=28), "20260227.94"),
        (local(1, 0, day=28), "20260228.00"),
    ],
)
@pytest.mark.usefixtures("server_in_vienna")
def test_a_naive_time_is_the_servers(moment: datetime, chunk: str) -> None:
    assert chunks.local_dt_to_chunk_str(moment) == chunk


@pytest.mark.parametrize("zone", [_VIENNA, "Europe/Vienna"])
def test_a_naive_time_is_in_the_zone_that_is_given(zone: Any) -> None:
    assert chunks.local_dt_to_chunk_str(local(22, 45), zone) == "20260227.87"


def test_an_aware_time_needs_no_zone() -> None:
    moment = local(22, 45).replace(tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert chunks.local_dt_to_chunk_str(moment) == "20260227.68"
    assert chunks.local_dt_to_chunk_str(moment, _VIENNA) == "20260227.68"


@pytest.mark.parametrize(("fold", "chunk"), [(0, "20261025.00"), (1, "20261025.04")])
@pytest.mark.usefixtures("server_in_vienna")
def test_fold_tells_the_second_of_two_equal_hours(fold: int, chunk: str) -> None:
    moment = datetime(2026, 10, 25, 2, 10, fold=fold)  # noqa: DTZ001 - this server's wall clock
    assert chunks.local_dt_to_chunk_str(moment) == chunk
    assert chunks.local_dt_to_chunk_str(moment, _VIENNA) == chunk


@given(instants)
def test_a_chunk_lies_in_its_instants_quarter_hour(instant: datetime) -> None:
    start = chunk_start(chunks.local_dt_to_chunk_str(instant))
    assert start <= instant.astimezone(UTC) < start + timedelta(minutes=15)


@pytest.mark.usefixtures("server_in_vienna")
def test_a_chunk_key_names_chunk_and_pixel() -> None:
    key = chunks.compute_chunk_key(local(22, 45), 83.82, -5.39)
    assert re.fullmatch(r"20260227\.87_HP[0-9]{6}", key)
    assert int(key[-6:]) == healpix_pixel(83.82, -5.39)


@pytest.mark.parametrize("position", [(None, None), (83.82, None), (None, -5.39)])
def test_an_unknown_position_is_pixel_0_and_warned_of(
    position: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chunks.compute_chunk_key(local(22, 45).replace(tzinfo=UTC), *position) == "20260227.91_HP000000"
    said = capsys.readouterr()
    assert "position is not known" in said.out + said.err


def test_a_position_that_is_not_on_the_sky_is_refused() -> None:
    with pytest.raises(ValueError, match="no position on the sky"):
        chunks.compute_chunk_key(local(22, 45).replace(tzinfo=UTC), 83.82, 95.0)


def test_the_poles_the_wrap_and_the_neighbourhood_of_pixels() -> None:
    assert healpix_pixel(0.0, 90.0) < 4
    assert PIXELS - 5 < healpix_pixel(0.0, -90.0) < PIXELS
    assert healpix_pixel(360.0, 45.0) == healpix_pixel(0.0, 45.0)
    assert healpix_pixel(-10.0, 30.0) == healpix_pixel(350.0, 30.0)
    assert 0 < abs(healpix_pixel(83.82, -5.39) - healpix_pixel(85.25, -2.46)) < 10_000


# -- coverage -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("server_in_vienna")
def test_coverage_is_read_from_current_and_legacy_names() -> None:
    names = [
        "CrowdSky_38_M 81_20.0s_LP_20260227.87_HP012345.fit",
        "CrowdSky_3_M 81_10.0s_IRCUT_20260227-230000.fit",
        "CrowdSky_38_M 81_20.0s_LP_20260227.88_HP012345.jpg",
        "DSO_Stacked_3_M 81_20.0s_20260228_205636.fit",
        "CrowdSky_3_M 81_10.0s_IRCUT_20260230-230000.fit",
        "notes.txt",
    ]
    assert chunks.parse_coverage_from_filenames(names) == {
        ("20260227.87", "20.0s", "LP"),
        ("20260227.88", "10.0s", "IRCUT"),
    }


@pytest.mark.usefixtures("server_in_vienna")
def test_covered_blocks_are_left_out_and_the_others_sorted() -> None:
    frames = [frame(local(hour, minute)) for hour, minute in ((23, 15), (22, 45), (23, 0))]
    blocks = chunks.group_frames_into_blocks(frames)
    left = chunks.filter_covered_blocks(blocks, {("20260227.88", "20.0s", "LP")})
    assert [block["block_start"] for block in left] == [local(22, 45), local(23, 15)]


@pytest.mark.usefixtures("server_in_vienna")
def test_another_exposure_or_filter_covers_nothing() -> None:
    blocks = chunks.group_frames_into_blocks([frame(local(22, 45))])
    others = {
        ("20260227.87", "10.0s", "LP"),
        ("20260227.87", "20.0s", "IRCUT"),
        ("20260227.86", "20.0s", "LP"),
    }
    assert len(chunks.filter_covered_blocks(blocks, others)) == 1


@given(
    targets, exposures, filters, frame_counts, instants, st.none() | st.integers(0, PIXELS - 1), extensions
)
@example("M 94", "10.0s", "IRCUT", 32, datetime(2025, 3, 27, 1, 15, tzinfo=UTC), 33810, ".fit")
def test_a_stack_covers_the_block_that_named_it(
    target: str,
    exposure: str,
    filter_: str,
    frames: int,
    instant: datetime,
    pixel: int | None,
    extension: str,
) -> None:
    chunk = chunks.local_dt_to_chunk_str(instant)
    key = chunks.ChunkKey(chunk, pixel)
    try:
        built = CrowdSkyName(frames, target, exposure, filter_, key, extension).build()
    except ValueError:  # no unambiguous name can be made of these parts
        return
    assert chunks.parse_coverage_from_filenames([built]) == {(chunk, exposure, filter_)}
    match = chunks.CROWDSKY_RE.match(built)
    assert match is not None
    assert match.groups()[:5] == (str(frames), target, exposure, filter_ or None, chunk)


def test_the_legacy_form_has_an_expression_of_its_own() -> None:
    built = CrowdSkyLegacyName(3, "M 81", "20.0s", "LP", local(22, 45)).build()
    match = crowdsky.CROWDSKY_RE_LEGACY.match(built)
    assert match is not None
    assert match.groups()[:5] == ("3", "M 81", "20.0s", "LP", "20260227-224500")
    assert crowdsky.CROWDSKY_RE.match(built) is None


# -- the module's face ----------------------------------------------------------------------------------


def test_the_package_gives_what_is_documented_on_it() -> None:
    for name in chunks.__all__:
        assert getattr(crowdsky, name) is getattr(chunks, name)


def test_a_name_that_nobody_documented_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'stack_everything'"):
        _ = crowdsky.stack_everything  # type: ignore[attr-defined] # that is the mistake


_LOADED = """
import sys, skyrelay.crowdsky.matching
print([module for module in ("smbclient", "sqlalchemy") if module in sys.modules])
"""


def test_the_client_alone_loads_neither_telescope_nor_database() -> None:
    ran = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
