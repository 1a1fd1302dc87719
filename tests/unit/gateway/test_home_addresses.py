"""Only what can lead nowhere but into the home is taken from a caller."""

from __future__ import annotations

import pytest

from skyrelay_gateway.home_addresses import check_home_host


@pytest.mark.parametrize(
    "host",
    ["192.168.1.5", "10.0.0.1", "127.0.0.1", "169.254.3.4", "100.64.0.7", "fd00::5", "fe80::1", "::1",
     "seestar", "Seestar.local", "seestar.fritz.box.", "telescope-1.lan"],
)  # fmt: skip
def test_addresses_and_names_of_a_home_are_taken(host: str) -> None:
    assert check_home_host(host) == host


@pytest.mark.parametrize(
    "host",
    ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "224.0.0.1", "0.0.0.0", "::",  # noqa: S104
     "example.org", "local.example.org", "134744072", "0x08080808", "0x8.8", "8.8", "010.8.8.8", "", " ",
     "a b", "host/path", "user@host", "host:80", "-x", "a..b", "ä.local"],
)  # fmt: skip
def test_all_others_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="no address of a home"):
        check_home_host(host)
