"""One connection to a telescope: what is read twice, what is never sent twice, and how long each takes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from skyrelay.seestar.auth import load_signer
from skyrelay.seestar.connection import Connection
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import (
    ConnectionClosed,
    DeadlinePassed,
    HostUnknown,
    KeyMissing,
    MethodUnknown,
    NoAnswer,
    ProgramSilent,
    RefusedForNow,
    ReplyLost,
    ServiceDown,
)
from support.telescope_wire import Answer, ScriptedTelescope, old_firmware, reply, scripted
from support.waiting import eventually

SHORT = timedelta(seconds=0.5)


@contextmanager
def connected(
    answer: Answer, reply_within: timedelta = SHORT
) -> Iterator[tuple[Connection, ScriptedTelescope]]:
    """Connect to a telescope without authentication that answers as scripted."""
    with scripted(old_firmware(answer)) as telescope:
        connection = Connection(telescope.host, telescope.port, connect=SHORT, reply=reply_within)
        with connection:
            yield connection, telescope


def event(name: str, **fields: object) -> bytes:
    """Write an event."""
    return json.dumps({"Event": name, "Timestamp": "1.5", **fields}).encode() + b"\r\n"


def test_noise_events_and_strangers_replies_are_not_taken_for_the_reply() -> None:
    def answer(request: dict[str, Any]) -> bytes:
        other_id = reply({**request, "id": request["id"] + 1000}, "late")
        other_method = reply({**request, "method": "get_albums"}, "another client's")
        noise = b"\xff\xfe\r\n\r\n{not json}\r\n[1]\r\n" + event("PiStatus", temp=41.5)
        return noise + other_id + other_method + reply(request, "mine")

    with connected(answer) as (connection, _):
        assert connection.read("pi_get_time") == "mine"


def test_a_reply_in_single_bytes_and_two_in_one_packet_are_read() -> None:
    with scripted(lambda request: reply(request, code=103)) as telescope:
        original = telescope.serve

        def in_bytes(client: Any) -> None:
            class Dribble:
                def sendall(self, data: bytes) -> None:
                    for byte in data:
                        client.sendall(bytes([byte]))

                def makefile(self, mode: str) -> Any:
                    return client.makefile(mode)

            original(Dribble())  # type: ignore[arg-type] # as much of a socket as is used

        telescope.serve = in_bytes  # type: ignore[method-assign] # the same server, with a slower wire
        with Connection(telescope.host, telescope.port) as connection, pytest.raises(MethodUnknown):
            connection.read("get_albums")


def test_threads_get_their_own_replies_in_whatever_order_they_come() -> None:
    held: list[bytes] = []

    def answer(request: dict[str, Any]) -> bytes:
        held.append(reply(request, request["params"]))
        if len(held) < 4:
            return b""
        answers = b"".join(reversed(held))
        held.clear()
        return answers

    with connected(answer, timedelta(seconds=5)) as (connection, telescope), ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda number: connection.read("echo", [number]), range(4))) == [
            [n] for n in range(4)
        ]
        assert telescope.accepted == 1


def test_a_read_is_repeated_once_after_a_drop() -> None:
    drops = [None, None]

    def answer(request: dict[str, Any]) -> bytes | None:
        return drops.pop() if len(drops) > 1 else reply(request, "there")

    with connected(answer) as (connection, telescope):
        assert connection.read("get_disk_volume") == "there"
        assert telescope.asked("get_disk_volume") == 2
        assert telescope.asked("get_verify_str") == 2  # authentication belongs to the TCP connection


def test_a_read_is_not_repeated_for_ever() -> None:
    with connected(lambda _request: None) as (connection, telescope):
        with pytest.raises(NoAnswer, match="drops"):
            connection.read("get_disk_volume")
        assert telescope.asked("get_disk_volume") == 2


@pytest.mark.parametrize("answer", [None, b""], ids=["drop", "silence"])
def test_a_command_without_an_answer_is_sent_once(answer: bytes | None) -> None:
    with connected(lambda _request: answer) as (connection, telescope):
        with pytest.raises(ReplyLost, match="start_batch_stack was sent"):
            connection.command("start_batch_stack")
        assert telescope.asked("start_batch_stack") == 1


def test_a_command_on_a_connection_that_ended_meanwhile_is_sent_over_a_new_one() -> None:
    with connected(reply) as (connection, telescope):
        connection.read("get_disk_volume")
        telescope.drop()
        eventually(lambda: not connection._link.alive)  # type: ignore[union-attr] # seen by its reader
        assert connection.command("start_batch_stack") == 0
        assert telescope.asked("start_batch_stack") == 1


def test_a_silent_telescope_costs_no_more_than_the_time_given() -> None:
    with connected(lambda _request: b"") as (connection, telescope):
        began = time.monotonic()
        with pytest.raises(NoAnswer):
            connection.read("get_disk_volume")
        assert time.monotonic() - began < 10.0
        assert telescope.asked("get_disk_volume") == 1


def test_nothing_is_sent_after_the_deadline() -> None:
    with connected(reply) as (connection, telescope):
        connection.read("get_disk_volume")
        with pytest.raises(DeadlinePassed):
            connection.command("start_batch_stack", deadline=Deadline.after(timedelta(0)))
        assert telescope.asked("start_batch_stack") == 0


def test_a_refusal_is_typed_and_not_repeated() -> None:
    with connected(lambda request: reply(request, code=203)) as (connection, telescope):
        with pytest.raises(RefusedForNow, match="203"):
            connection.read("iscope_start_view")
        assert telescope.asked("iscope_start_view") == 1


@pytest.mark.parametrize("challenge", ["abc", {"str": "abc"}])
def test_a_challenge_without_a_key_names_the_setting(challenge: object) -> None:
    with (
        scripted(lambda request: reply(request, challenge)) as telescope,
        Connection(telescope.host, telescope.port, name="garden") as connection,
        pytest.raises(KeyMissing, match=r"telescopes\[garden\].key_path"),
    ):
        connection.read("get_device_state")


@pytest.mark.parametrize("challenge", ["", {"str": ""}, {}, None])
def test_an_empty_challenge_wants_no_key(challenge: object) -> None:
    with (
        scripted(lambda request: reply(request, challenge)) as telescope,
        Connection(telescope.host, telescope.port) as connection,
    ):
        assert connection.read("get_device_state") == challenge


def test_each_way_of_being_away_is_told_apart() -> None:
    with scripted(reply) as telescope:
        gone = telescope.port
    for host, kind in (
        ("127.0.0.1", ServiceDown),
        ("no-such-host.invalid", HostUnknown),
        ("a..b", HostUnknown),
    ):
        with Connection(host, gone, connect=timedelta(seconds=5)) as connection, pytest.raises(kind):
            connection.read("get_device_state")


def test_a_device_that_accepts_and_says_nothing_is_told_from_one_that_is_away() -> None:
    with (
        scripted(lambda _request: b"") as telescope,
        Connection(telescope.host, telescope.port, connect=SHORT, reply=SHORT) as connection,
        pytest.raises(ProgramSilent, match="takes connections, but get_verify_str was not answered"),
    ):
        connection.read("get_device_state")


def test_closing_wakes_whoever_waits_and_is_final() -> None:
    with connected(lambda _request: b"", timedelta(seconds=30)) as (connection, telescope):
        failures: list[BaseException] = []

        def wait() -> None:
            try:
                connection.read("get_albums")
            except (NoAnswer, ConnectionClosed) as error:
                failures.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        eventually(lambda: telescope.asked("get_albums"))
        connection.close()
        waiting.join(5)
        assert not waiting.is_alive()
        assert len(failures) == 1
        with pytest.raises(ConnectionClosed):
            connection.read("get_albums")


def test_no_thread_is_left_behind() -> None:
    with connected(reply) as (connection, _):
        connection.read("get_albums")
        names = {thread.name for thread in threading.enumerate()}
        assert "seestar 127.0.0.1" in names
        connection.close()
        assert "seestar 127.0.0.1" not in {thread.name for thread in threading.enumerate()}


def test_events_reach_those_who_asked_for_them() -> None:
    def answer(request: dict[str, Any]) -> bytes:
        return event("PiStatus", temp=1) + event("BatchStack", state="working") + reply(request)

    with connected(answer) as (connection, _), connection.subscribed("BatchStack") as stack:
        with connection.subscribed("PiStatus") as status:
            connection.read("get_albums")
            first = status.take(SHORT)
        assert first is not None
        assert first.fields.number("temp") == 1.0
        second = stack.take(SHORT)
        assert second is not None
        assert second.name == "BatchStack"
        assert stack.take(timedelta(0)) is None


def test_each_of_several_listeners_gets_every_event_in_order_also_over_a_new_connection() -> None:
    numbers = iter(range(100))

    def answer(request: dict[str, Any]) -> bytes:
        return event("BatchStack", percent=next(numbers)) + reply(request)

    with (
        connected(answer) as (connection, telescope),
        connection.subscribed("BatchStack") as first,
        connection.subscribed("BatchStack", "PiStatus") as second,
    ):
        connection.read("get_albums")
        telescope.drop()
        eventually(lambda: not connection._link.alive)  # type: ignore[union-attr] # seen by its reader
        connection.read("get_albums")
        for listener in (first, second):
            seen = [taken.fields.number("percent") for _ in range(2) if (taken := listener.take(SHORT))]
            assert seen == [0.0, 1.0]
        assert telescope.accepted == 2


def test_threads_that_come_at_once_share_one_connection() -> None:
    with connected(reply, timedelta(seconds=5)) as (connection, telescope), ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: connection.read("get_albums"), range(16))) == {0}
        assert (telescope.accepted, telescope.asked("get_verify_str"), connection.open()) == (1, 1, 1)


def test_a_reply_of_a_megabyte_between_events_is_read_whole() -> None:
    album = "x" * 2**20

    def answer(request: dict[str, Any]) -> bytes:
        return event("PiStatus", temp=1) + reply(request, album) + event("temp", value=2)

    with connected(answer, timedelta(seconds=20)) as (connection, _):
        assert connection.read("get_albums") == album
        assert connection.read("get_albums") == album


@pytest.mark.parametrize("verified", [0, 5, 103])
def test_a_telescope_that_calls_itself_unverified_after_the_handshake_is_spoken_to(
    verified: int, key_path: Path
) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        method = request["method"]
        result = {"str": "abc"} if method == "get_verify_str" else 0
        return reply(request, result, code=verified if method == "pi_is_verified" else 0)

    with (
        scripted(answer) as telescope,
        Connection(telescope.host, telescope.port, signer=lambda: load_signer(key_path)) as connection,
    ):
        connection.read("get_albums")
        methods = [request["method"] for request in telescope.requests]
        assert methods == ["get_verify_str", "verify_client", "pi_is_verified", "get_albums"]
        assert all(request["verify"] is True for request in telescope.requests)


def test_a_name_that_nobody_answers_for_costs_no_more_than_the_time_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        release.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)  # the system's resolver, when its servers are away
    try:
        with Connection("seestar.local", 4700, connect=SHORT) as connection, pytest.raises(HostUnknown):
            connection.read("get_albums")
    finally:
        release.set()


def test_events_that_nobody_takes_stay_bounded() -> None:
    flood = b"".join(event("BatchStack", percent=number) for number in range(5000))
    with connected(lambda request: flood + reply(request)) as (connection, _):
        with connection.subscribed("BatchStack") as events:
            connection.read("get_albums")
            taken = []
            while newest := events.take(timedelta(0)):
                taken.append(newest.fields.number("percent"))
        assert len(taken) < 1000
        assert taken[-1] == 4999.0


def test_a_connection_is_kept_alive_only_while_something_is_under_way() -> None:
    with scripted(old_firmware(reply)) as telescope:
        silence = timedelta(seconds=0.1)
        with Connection(telescope.host, telescope.port, keep_alive=silence) as connection:
            connection.read("get_albums")
            assert telescope.asked("test_connection") == 0
            with connection.subscribed("BatchStack"):
                eventually(lambda: telescope.asked("test_connection") >= 3)
            pings = telescope.asked("test_connection")
            with pytest.raises(AssertionError, match="still False"):
                eventually(lambda: telescope.asked("test_connection") > pings + 1, within_s=1.0)
