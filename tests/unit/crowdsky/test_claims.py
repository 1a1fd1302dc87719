"""Of several sends of one block each gets a row of its own, or none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from skyrelay.crowdsky.claims import Claim, share_rows
from skyrelay.crowdsky.matching import StackIdentity
from skyrelay.crowdsky.stacks import ServerStack

START = datetime(2025, 3, 27, 1, 20, 32, tzinfo=UTC)
END = datetime(2025, 3, 27, 1, 27, 7, tzinfo=UTC)
OURS = StackIdentity("1d3fe189", "IRCUT", START, END, frozenset({"20250327.05_HP033810"}))
ROW = ServerStack(
    id=1, telescope_id="S50_1d3fe189", filter_name="IRCUT", date_obs_start=START, date_obs_end=END
)

frames = st.sampled_from([None, 20, 23])
rows = st.lists(frames, max_size=5).map(
    lambda counts: [
        replace(ROW, id=number, n_frames_input=count, n_frames_aligned=count)
        for number, count in enumerate(counts)
    ]
)
claims = st.lists(frames, max_size=4).map(
    lambda counts: [Claim(key, OURS, count, count) for key, count in enumerate(counts)]
)


@given(rows, claims)
def test_no_row_goes_to_two_and_none_stays_while_somebody_waits(
    given_rows: list[ServerStack], given_claims: list[Claim]
) -> None:
    found = share_rows(given_rows, given_claims)

    assert found.keys() == {claim.key for claim in given_claims}
    given_out = [finding.row.id for finding in found.values() if finding.row is not None]
    assert len(set(given_out)) == len(given_out) == min(len(given_rows), len(given_claims))


@given(rows, claims)
def test_whoever_has_a_row_of_its_own_frames_gets_one_of_them(
    given_rows: list[ServerStack], given_claims: list[Claim]
) -> None:
    found = share_rows(given_rows, given_claims)

    for count in (20, 23):
        fitting = sum(row.n_frames_input == count for row in given_rows)
        wanting = [claim for claim in given_claims if claim.frames_input == count]
        got = [found[claim.key].row for claim in wanting]
        assert sum(row is not None and row.n_frames_input == count for row in got) >= min(
            fitting, len(wanting)
        )


def test_what_was_sent_first_gets_the_only_row() -> None:
    found = share_rows([ROW], [Claim(3, OURS), Claim(8, OURS)])
    assert (found[3].row, found[8].row) == (ROW, None)


def test_another_filters_row_is_nobodys() -> None:
    assert share_rows([replace(ROW, filter_name="LP")], [Claim(1, OURS)])[1].row is None
