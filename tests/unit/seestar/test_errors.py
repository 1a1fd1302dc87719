"""The firmware's codes and the network's: each has one type, hence one decision, and words of its own."""

from __future__ import annotations

import errno
import socket

import pytest

from skyrelay.domain.states import HOST_ANSWERS, Reach
from skyrelay.errors import PermanentError, TransientError
from skyrelay.seestar.errors import (
    Code,
    HostAbsent,
    HostAway,
    HostUnknown,
    MethodUnknown,
    NetworkDown,
    NoAnswer,
    ProgramSilent,
    RefusedForGood,
    RefusedForNow,
    ServiceDown,
    Unreachable,
    is_lasting,
    refusal,
)
from skyrelay.seestar.fields import Fields
from skyrelay.seestar.reach import Port
from skyrelay.seestar.stack_run import StackRun, StackState

# Every code of the protocol's documentation: what a refused command is, and whether a stack of the same
# frames that ended with it is worth another try.
CODES = {
    102: (RefusedForGood, "bad parameter"),
    103: (MethodUnknown, "method not found"),
    107: (RefusedForGood, "list parameters rejected"),
    109: (RefusedForGood, "parameters rejected"),
    203: (RefusedForNow, "it is moving"),
    207: (RefusedForNow, "fail to operate"),
    263: (RefusedForGood, "too few stars"),
    264: (RefusedForGood, "the frames do not fit together"),
    267: (RefusedForGood, "no image"),
    270: (RefusedForNow, "below the horizon"),
    279: (RefusedForGood, "no star"),
    514: (RefusedForNow, "interrupted"),
}
UNKNOWN_CODES = [-1, 1, 110, 265, 9999, 2**31]


def test_no_documented_code_is_left_out() -> None:
    assert set(CODES) == {int(code) for code in Code}


@pytest.mark.parametrize("code", CODES)
def test_a_refused_command_says_whether_to_try_again_and_why(code: int) -> None:
    kind, words = CODES[code]
    error = refusal("start_batch_stack", code, "")
    assert type(error) is kind
    assert isinstance(error, PermanentError) != isinstance(error, TransientError)
    assert (error.method, error.code) == ("start_batch_stack", code)
    assert words in str(error)
    assert "in its own words" in str(refusal("start_batch_stack", code, "in its own words"))


@pytest.mark.parametrize("code", CODES)
def test_a_failed_stack_says_whether_to_try_again_and_why(code: int) -> None:
    kind, words = CODES[code]
    run = StackRun.parse(Fields({"state": "fail", "code": code}))
    assert (run.state, run.error) == (StackState.FAIL, words)
    assert run.is_lasting_failure == issubclass(kind, PermanentError) == is_lasting(code)


@pytest.mark.parametrize("code", UNKNOWN_CODES)
def test_a_code_that_nobody_knows_is_tried_again_and_named(code: int) -> None:
    error = refusal("start_batch_stack", code, "")
    assert type(error) is RefusedForNow
    assert str(code) in str(error)
    assert not StackRun.parse(Fields({"state": "fail", "code": code})).is_lasting_failure


def test_a_run_that_somebody_cancelled_is_worth_another_try() -> None:
    assert not StackRun.parse(Fields({"state": "cancel", "code": 514})).is_lasting_failure


AWAY = [
    (
        TimeoutError(),
        HostAway,
        Reach.SILENT,
        "does not answer on port 4700: is the telescope on and in your Wi-Fi",
    ),
    (OSError(errno.EHOSTUNREACH, ""), HostAbsent, Reach.ABSENT, "switched off or out of your Wi-Fi"),
    (OSError(errno.EHOSTDOWN, ""), HostAbsent, Reach.ABSENT, "cannot be seen from here"),
    (OSError(errno.ENETUNREACH, ""), NetworkDown, Reach.NO_NETWORK, "this server has no network to it"),
    (OSError(errno.ENETDOWN, ""), NetworkDown, Reach.NO_NETWORK, "says nothing about the telescope"),
    (
        ConnectionRefusedError(errno.ECONNREFUSED, ""),
        ServiceDown,
        Reach.REFUSED,
        r"telescopes\[garden\].rpc_port",
    ),
    (socket.gaierror(-2, "unknown"), HostUnknown, Reach.NO_SUCH_NAME, r"telescopes\[garden\].host"),
    (UnicodeError(), HostUnknown, Reach.NO_SUCH_NAME, "no address that this network knows"),
    (OSError(errno.EPERM, ""), HostAway, Reach.SILENT, "firewall"),
]


@pytest.mark.parametrize(("error", "kind", "reach", "words"), AWAY)
def test_each_way_of_being_away_has_its_own_words(
    error: OSError, kind: type[Unreachable], reach: Reach, words: str
) -> None:
    away = Port("garden", "192.168.1.50", 4700, "rpc_port").away(error)
    assert (type(away), away.reach) == (kind, reach)
    with pytest.raises(kind, match=words):
        raise away


def test_whether_the_host_answers_at_all_is_known_of_each() -> None:
    kinds = (ServiceDown, ProgramSilent, HostAway, HostAbsent, HostUnknown, NetworkDown, NoAnswer)
    assert {kind for kind in kinds if kind.reach in HOST_ANSWERS} == {ServiceDown, ProgramSilent}
    assert len({kind.reach for kind in kinds}) == len(kinds)
