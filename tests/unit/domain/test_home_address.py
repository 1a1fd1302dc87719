"""Only what lies in the home can be asked from the page."""

from __future__ import annotations

import pytest

from skyrelay.domain.asked import Asked
from skyrelay.domain.home_address import check_home_host, check_home_port, home_asked_of, is_home_address


@pytest.mark.parametrize("address", ["192.168.1.50", "10.0.0.1", "172.16.3.4", "127.0.0.1", "100.64.0.9"])
def test_addresses_of_homes_vpns_and_this_machine_are_at_home(address: str) -> None:
    assert is_home_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "192.0.2.1",
        "172.32.0.1",
        "169.254.169.254",
        "0.0.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "0x7f.1",
        "::1",
    ],
)
def test_addresses_of_others_are_not(address: str) -> None:
    assert not is_home_address(address)


@pytest.mark.parametrize("host", ["seestar", "seestar.local", "garden.fritz.box", "192.168.1.50"])
def test_names_of_the_home_are_taken(host: str) -> None:
    assert check_home_host(host) == host


@pytest.mark.parametrize(
    "host",
    ["example.com", "8.8.8.8", "192.168.1.50:4700", "192.168.1.0/24", "", "a b", "http://10.0.0.1",
     "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "224.0.0.1", "local.example.org",
     "134744072", "0x08080808", "0X8.8", "8.8", "010.8.8.8", "host/path", "user@host", "-x", "a..b"],
)  # fmt: skip
def test_names_that_may_lead_elsewhere_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"is no|address"):
        check_home_host(host)


def test_ports_of_other_services_are_refused() -> None:
    assert check_home_port(4700, 4700) == 4700
    assert check_home_port(14700, 4700) == 14700
    with pytest.raises(ValueError, match="another service's port"):
        check_home_port(22, 4700)


def test_a_network_of_the_home_is_asked_host_by_host() -> None:
    assert home_asked_of("192.168.1.0/30") == (Asked("192.168.1.1"), Asked("192.168.1.2"))
    assert home_asked_of("192.168.1.7:5001") == (Asked("192.168.1.7", 5001),)


@pytest.mark.parametrize(
    "network", ["8.8.8.0/24", "10.0.0.0/8", "192.168.0.0/21", "169.254.0.0/24", "10.0.0.1:80"]
)
def test_other_and_large_networks_are_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"is no|too many|another service"):
        home_asked_of(network)
