"""The archive as tables: what goes into an ECSV is what astropy reads, and no cell of a CSV is a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.archive_tables import Form, archive_text
from skyrelay.store.archive import ArchivedStack

START = datetime(2025, 3, 27, 1, 0, 0, 250_000, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "id": 7,
    "name": "CrowdSky_30_M 81_10.0s_IRCUT_1_HP033810.fit",
    "telescope": "garden",
    "target": "M 81",
    "filter": "IRCUT",
    "exposure_s": 10.0,
    "night": date(2025, 3, 26),
    "frames": 30,
    "exposure_total_s": 300.0,
    "first_start_at": START,
    "last_end_at": START + timedelta(minutes=10),
    "ra_deg": 148.89,
    "dec_deg": -69.07,
    "chunk_key": "1_HP033810",
    "delivered_at": None,
    "is_confirmed": True,
}


def stack(**columns: Any) -> ArchivedStack:
    return ArchivedStack(**{**VALUES, **columns})


def whole(stacks: Iterable[ArchivedStack], form: Form) -> str:
    return "".join(archive_text(stacks, form))


def read(text: str) -> Table:
    return Table.read(text.splitlines(), format="ascii.ecsv")


def test_astropy_reads_values_units_and_gaps() -> None:
    unknown = stack(id=8, frames=None, ra_deg=None, dec_deg=None, last_end_at=None, is_confirmed=False)
    table = read(whole([stack(), unknown], "ecsv"))
    assert table.colnames == list(VALUES)
    assert table["exposure_total_s"].unit == units.s
    assert table["ra_deg"].unit == units.deg
    assert table["ra_deg"][0] == pytest.approx(148.89)
    assert list(table["is_confirmed"]) == [True, False]
    assert table["first_start_at"][0] == "2025-03-27T01:00:00.250"
    for gap in ("frames", "ra_deg", "dec_deg"):
        assert list(np.ma.getmaskarray(table[gap])) == [False, True], gap
    assert table.meta["origin"].startswith("Skyrelay ")


def test_an_empty_archive_is_a_table_too() -> None:
    table = read(whole([], "ecsv"))
    assert (len(table), table.colnames) == (0, list(VALUES))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_no_name_from_outside_breaks_the_table(targets: list[str]) -> None:
    stacks = [stack(id=number, target=target) for number, target in enumerate(targets)]
    for form in ("csv", "ecsv"):
        lines = [each for each in whole(stacks, form).split("\n") if each and each[0] != "#"]
        rows = list(csv.DictReader(lines))
        assert [row["id"] for row in rows] == [str(number) for number in range(len(targets))]


@pytest.mark.parametrize("target", ["#1", 'a "b", c', "=1+1", "M 31 – Halo", "None", "12"])
def test_names_come_back_as_they_are(target: str) -> None:
    assert read(whole([stack(target=target)], "ecsv"))["target"][0] == target


@given(st.sampled_from(["=", "+", "-", "@", "\t=", "\r@", " ="]), st.text())
def test_no_cell_begins_like_a_formula(sign: str, rest: str) -> None:
    (row,) = csv.DictReader(io.StringIO(whole([stack(target=sign + rest)], "csv")))
    assert row["target"].startswith("'")
    assert float(row["dec_deg"]) == -69.07, "numbers stay numbers"


@pytest.mark.parametrize(("number", "parts"), [(0, 1), (499, 1), (500, 2), (1200, 3)])
def test_a_long_table_comes_in_parts_with_each_line_once(number: int, parts: int) -> None:
    made = list(archive_text((stack(id=each) for each in range(number)), "csv"))
    assert len(made) == parts
    assert [int(row["id"]) for row in csv.DictReader(io.StringIO("".join(made)))] == list(range(number))
