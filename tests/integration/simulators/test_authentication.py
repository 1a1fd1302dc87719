"""The handshake of firmware 7.18 and later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skyrelay_simulators.telescope import KeyPair, SimulatedTelescope, TelescopeSpec, generate_key_pair
from support.raw_seestar_client import RawSeestarClient

from .conftest import MakeTelescope

Connect = Callable[[SimulatedTelescope], RawSeestarClient]


@pytest.fixture(scope="module")
def key_pair() -> KeyPair:
    """A key."""
    return generate_key_pair()


@pytest.fixture
def locked(make_telescope: MakeTelescope, key_pair: KeyPair) -> SimulatedTelescope:
    """A telescope that wants the key."""
    return make_telescope(wants_key=True, public_key_pem=key_pair.public_pem)


def test_commands_are_refused_before_the_handshake(locked: SimulatedTelescope, connect: Connect) -> None:
    client = connect(locked)
    assert client.code("get_device_state") != 0
    assert client.code("start_batch_stack") != 0
    assert client.code("test_connection") == 0


def test_the_right_key_opens_this_connection_only(
    locked: SimulatedTelescope, connect: Connect, key_pair: KeyPair
) -> None:
    client = connect(locked)
    assert client.authenticate(key_pair.private_pem) == 0
    assert client.result("pi_is_verified", "verify") is True
    assert client.code("get_device_state") == 0
    assert connect(locked).code("get_device_state") != 0


def test_an_event_comes_in_the_middle_of_the_handshake(
    locked: SimulatedTelescope, connect: Connect, key_pair: KeyPair
) -> None:
    client = connect(locked)
    client.authenticate(key_pair.private_pem)
    assert [event["Event"] for event in client.events] == ["PiStatus", "temp"]


def test_another_key_is_refused(locked: SimulatedTelescope, connect: Connect) -> None:
    client = connect(locked)
    assert client.authenticate(generate_key_pair().private_pem) != 0
    assert client.code("get_device_state") != 0


@pytest.mark.parametrize("signature", ["", "no base64!", "AAAA"])
def test_a_broken_signature_is_refused(locked: SimulatedTelescope, connect: Connect, signature: str) -> None:
    client = connect(locked)
    challenge = client.result("get_verify_str", "verify")["str"]
    assert client.code("verify_client", {"sign": signature, "data": challenge}) != 0


def test_a_signature_of_something_else_is_refused(
    locked: SimulatedTelescope, connect: Connect, key_pair: KeyPair
) -> None:
    client = connect(locked)
    client.result("get_verify_str", "verify")
    assert client.code("verify_client", {"sign": "AAAA", "data": "my own challenge"}) != 0
    assert client.authenticate(key_pair.private_pem) == 0  # a new challenge, a new chance


def test_without_a_key_the_challenge_is_empty(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope(firmware_ver_int=2846))
    assert client.result("get_verify_str", "verify") == {"str": ""}


def test_older_firmware_knows_no_handshake(make_telescope: MakeTelescope, connect: Connect) -> None:
    client = connect(make_telescope(firmware_ver_int=2706))
    assert client.code("get_verify_str", "verify") == 103


def test_the_journal_keeps_no_signature(
    locked: SimulatedTelescope, connect: Connect, key_pair: KeyPair
) -> None:
    connect(locked).authenticate(key_pair.private_pem)
    assert [entry.params for entry in locked.journal.entries(method="verify_client")] == ["signature"]


def test_wanting_a_key_without_having_one_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="public_key_pem"):
        TelescopeSpec(serial="x", root=tmp_path, wants_key=True)
