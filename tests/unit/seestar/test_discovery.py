"""A telescope's answer to discovery."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.seestar.discovery import Discovered, read_answer


def answer(**result: object) -> bytes:
    """Write an answer."""
    return json.dumps({"id": 1, "method": "scan_iscope", "code": 0, "result": result}).encode()


def test_an_answer_is_read() -> None:
    said = {"product_model": "Seestar S50", "ssid": "S50_1d3fe189", "tcp_client_num": 2, "connect_lock": True}
    assert read_answer(answer(sn="1d3fe189", **said), "10.0.0.5") == Discovered(
        "1d3fe189", "10.0.0.5", "Seestar S50", "S50_1d3fe189", 2, ("10.0.0.5",), locked=True
    )


@pytest.mark.parametrize("said", [{}, {"connect_lock": "yes"}, {"tcp_client_num": "many", "ssid": 5}])
def test_what_it_does_not_say_is_unknown(said: dict[str, object]) -> None:
    found = read_answer(answer(sn="1d3fe189", **said), "10.0.0.5")
    assert found is not None
    assert (found.model, found.ssid, found.clients, found.locked) == ("", "", None, None)


def test_older_firmware_calls_the_model_otherwise() -> None:
    found = read_answer(answer(sn="1d3fe189", model="Seestar S30"), "10.0.0.5")
    assert found is not None
    assert found.model == "Seestar S30"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        answer(),
        answer(sn=""),
        answer(sn=5),
        answer(sn="a\nb"),
        answer(sn="x" * 65),
        b'{"id":1,"code":5}',
    ],
)
def test_anything_else_is_no_telescope(data: bytes) -> None:
    assert read_answer(data, "10.0.0.5") is None


@given(st.binary(max_size=500))
def test_noise_is_survived(data: bytes) -> None:
    assert read_answer(data, "10.0.0.5") is None
