"""The firmware's codes: each has one type, hence one decision."""

from __future__ import annotations

import socket

import pytest

from skyrelay.errors import PermanentError, TransientError
from skyrelay.seestar.errors import HostAway, HostUnknown, MethodUnknown, ServiceDown, is_lasting, refusal
from skyrelay.seestar.reach import Port


@pytest.mark.parametrize("code", [102, 103, 107, 109, 263, 264, 267, 279])
def test_a_command_that_can_never_work_is_refused_for_good(code: int) -> None:
    error = refusal("start_batch_stack", code, "")
    assert isinstance(error, PermanentError)
    assert is_lasting(code)
    assert (error.method, error.code) == ("start_batch_stack", code)


@pytest.mark.parametrize("code", [203, 207, 270, 514, -1, 9999])
def test_a_command_that_may_work_later_is_refused_for_now(code: int) -> None:
    assert isinstance(refusal("start_batch_stack", code, ""), TransientError)
    assert not is_lasting(code)


def test_an_unknown_method_is_told_from_other_errors() -> None:
    assert isinstance(refusal("clear_batch_stack", 103, "method not found"), MethodUnknown)
    assert not isinstance(refusal("clear_batch_stack", 102, ""), MethodUnknown)


def test_the_message_says_what_the_code_means() -> None:
    assert "no image" in str(refusal("start_batch_stack", 267, ""))
    assert "in its own words" in str(refusal("start_batch_stack", 267, "in its own words"))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), HostAway, "garden: 192.168.1.50 does not answer on port 4700: is the telescope on"),
        (OSError(113, "No route to host"), HostAway, "in your Wi-Fi"),
        (ConnectionRefusedError(111, "refused"), ServiceDown, r"telescopes\[garden\].rpc_port"),
        (socket.gaierror(-2, "unknown"), HostUnknown, r"telescopes\[garden\].host"),
    ],
)
def test_each_way_of_being_away_has_its_own_words(error: OSError, kind: type[Exception], words: str) -> None:
    away = Port("garden", "192.168.1.50", 4700, "rpc_port").away(error)
    assert type(away) is kind
    with pytest.raises(kind, match=words):
        raise away
