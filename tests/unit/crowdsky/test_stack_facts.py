"""What a stack's file tells of itself."""

from __future__ import annotations

from datetime import UTC, datetime

from skyrelay.crowdsky.stack_facts import StackFacts, stack_facts
from skyrelay.fits_header import parse_header
from support.fits_files import fits_bytes

NAME = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.06_HP033810.fit"


def facts(name: str = NAME, **cards: object) -> StackFacts:
    return stack_facts(name, parse_header(fits_bytes(**cards)), 5760)


def test_header_and_name_together_tell_what_it_is() -> None:
    identity = facts().identity

    assert (identity.telescope_serial, identity.filter_name) == ("S50_1d3fe189", "IRCUT")
    assert identity.first_start_at == datetime(2025, 3, 27, 1, 20, 32, 955_368, tzinfo=UTC)
    assert identity.last_start_at is None
    assert identity.total_exptime_s == 320.0
    assert facts().frames == 31


def test_it_is_known_by_the_key_in_its_name_and_by_the_servers() -> None:
    assert facts().identity.chunk_keys == {"20250327.06_HP033810", "20250327.05_HP033810"}


def test_the_name_stands_in_for_a_filter_that_the_header_lacks() -> None:
    assert facts(FILTER=None).identity.filter_name == "IRCUT"


def test_an_unknown_position_is_filed_by_the_server_as_pixel_zero() -> None:
    assert facts("CrowdSky_x.fit", RA=None).identity.chunk_keys == {"20250327.05_HP000000"}
    assert facts("CrowdSky_x.fit", DEC=123.0).identity.chunk_keys == {"20250327.05_HP000000"}


def test_a_fingerprint_is_the_same_under_another_name_and_tells_no_place() -> None:
    legacy = facts("CrowdSky_31_M 94_10.0s_IRCUT_20250326-211500.fit")

    assert legacy.fingerprint == facts().fingerprint
    assert "33.65" not in legacy.fingerprint
    assert facts(TOTALEXP=310.0).fingerprint != facts().fingerprint


def test_without_a_time_nothing_is_the_same() -> None:
    assert facts(DATE_OBS=None).fingerprint != facts("CrowdSky_other.fit", DATE_OBS=None).fingerprint
