"""Who watches sees what happens, once, in order, and can go on where it stopped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.queue.live import LiveEvent, tell
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Telescope
from skyrelay.store.transitions import audit, move_block
from support.event_stream import EventSource, watching
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight
from support.redis_server import RedisServer
from support.waiting import eventually

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
NOW = datetime(2025, 3, 27, 3, tzinfo=UTC)
AWAY = "unix:///nowhere/redis.sock"


def lay_down(store: Store) -> None:
    """Record one telescope with a block that is ready; their ids are 1."""
    with store.write() as session:
        night = RecordedNight(session)
        night.block(night.telescope(), "M 81", EVENING, BlockState.READY)


def note(store: Store, event: str, times: int = 1) -> None:
    with store.write() as session:
        for _ in range(times):
            audit(session, now=NOW, actor="test", subject=("block", 1), event=event)


def start_stacking(store: Store, percent: float | None = None) -> None:
    with store.write() as session:
        block = session.get_one(Block, 1)
        move_block(session, block, BlockState.STACKING, now=NOW, actor="test", reason="begun")
        block.percent = percent


@pytest.fixture
def gateway(store: Store) -> Iterator[GatewayClient]:
    """Give a gateway with that block; Redis is away."""
    lay_down(store)
    with running_gateway(store, AWAY) as client:
        yield client


def greeted(source: EventSource) -> int:
    """Read the first event; give the id that it names."""
    hello = source.next()
    assert hello is not None
    assert hello.name == "hello"
    return int(hello.data["last_event_id"])


def test_a_stream_says_what_it_is(gateway: GatewayClient) -> None:
    with watching(gateway) as source:
        assert source.answer.headers["content-type"].startswith("text/event-stream")
        assert source.answer.headers["cache-control"] == "no-store"
        assert greeted(source) == 0
        telescope = source.until("telescope").data
    assert telescope == gateway.read("/api/v1/telescopes")["items"][0]


def test_a_step_of_a_block_is_seen_without_redis(gateway: GatewayClient, store: Store) -> None:
    with watching(gateway) as source:
        greeted(source)
        start_stacking(store, percent=10.0)
        change = source.until("change")
        progress = source.until("progress")
    assert change.id == change.data["id"] == 1
    assert change.data["subject_kind"] == "block"
    assert (change.data["from_state"], change.data["to_state"]) == ("ready", "stacking")
    assert progress.data == {"block_id": 1, "telescope_id": 1, "state": "stacking", "percent": 10.0}
    assert progress.id is None


def test_a_telescope_that_changes_is_told(gateway: GatewayClient, store: Store) -> None:
    with watching(gateway) as source:
        source.until("telescope")
        with store.write() as session:
            session.get_one(Telescope, 1).state = TelescopeState.OBSERVING
        assert source.until("telescope").data["state"] == "observing"


def test_new_frames_are_told(gateway: GatewayClient, store: Store) -> None:
    with watching(gateway) as source:
        newest = source.until("frames").data["newest_id"]
        with store.write() as session:
            frame = RecordedNight(session).frame(session.get_one(Telescope, 1), "M 31", EVENING)
        assert source.until("frames").data["newest_id"] == frame.id == newest + 1


def test_who_comes_back_hears_what_was_missed_and_nothing_twice(gateway: GatewayClient, store: Store) -> None:
    with watching(gateway) as source:
        greeted(source)
        note(store, "one")
        last = source.until("change").id
    note(store, "two")
    note(store, "three")
    with watching(gateway, **{"Last-Event-ID": str(last)}) as source:
        greeted(source)
        missed = [source.until("change"), source.until("change")]
        note(store, "four")
        missed.append(source.until("change"))
    assert [(event.id, event.data["event"]) for event in missed] == [(2, "two"), (3, "three"), (4, "four")]


def test_who_missed_more_than_is_told_is_asked_to_read_anew(gateway: GatewayClient, store: Store) -> None:
    note(store, "much", times=2001)
    with watching(gateway, **{"Last-Event-ID": "0"}) as source:
        greeted(source)
        reload = source.until("reload")
        note(store, "next")
        assert source.until("change").id == 2002
    assert reload.id == 2001


def test_an_id_of_another_database_is_answered_by_reading_anew(gateway: GatewayClient) -> None:
    with watching(gateway, **{"Last-Event-ID": "999"}) as source:
        greeted(source)
        assert source.until("reload").id == 0


@pytest.mark.parametrize("id_", ["x", "-1", "9" * 40, "1.5", "1.0", "+1", "1_0", "0x1", "1e1"])
def test_an_id_that_is_none_is_refused(gateway: GatewayClient, id_: str) -> None:
    answer = gateway.send("GET", "/api/v1/events", headers={"Last-Event-ID": id_})
    assert answer.status_code == 422
    assert "Last-Event-ID" in answer.json()["detail"]


def test_many_changes_at_once_all_come(gateway: GatewayClient, store: Store) -> None:
    with watching(gateway) as source:
        greeted(source)
        note(store, "one of many", times=1200)
        ids = [source.until("change").id for _ in range(1200)]
    assert ids == list(range(1, 1201))


def test_progress_comes_over_redis_and_goes_on_when_redis_is_back(
    store: Store, redis_server: RedisServer
) -> None:
    lay_down(store)
    with running_gateway(store, redis_server.url) as client, watching(client) as source:
        greeted(source)
        source.until("frames")
        for percent in (20.0, 40.0):
            stop = threading.Event()
            event = LiveEvent(block_id=1, telescope_id=1, state="stacking", percent=percent)
            teller = threading.Thread(target=tell_until, args=(redis_server.url, event, stop))
            teller.start()
            assert source.until("progress").data["percent"] == percent
            stop.set()
            teller.join()
            redis_server.stop()
            redis_server.start()


def tell_until(url: str, event: LiveEvent, stop: threading.Event) -> None:
    """Tell an event until it was heard: a channel keeps nothing for who listens later."""
    while not stop.wait(0.05):
        tell(url, event)


def test_two_hundred_viewers_share_one_reader(store: Store, redis_server: RedisServer) -> None:
    lay_down(store)
    with running_gateway(store, redis_server.url) as client, ExitStack() as stack:
        before = threading.active_count()
        sources = [stack.enter_context(watching(client)) for _ in range(200)]
        for source in sources:
            greeted(source)
        listening = [thread for thread in threading.enumerate() if thread.name == "live events"]
        note(store, "seen by all")
        assert {source.until("change").id for source in sources} == {1}
        assert len(listening) == 1
        assert threading.active_count() - before < 60  # the server's pool for all requests, at most 40
        stack.close()
        eventually(lambda: not any(each.name == "live events" for each in threading.enumerate()))


def test_a_viewer_that_takes_nothing_is_let_go_and_the_others_go_on(store: Store) -> None:
    lay_down(store)
    with running_gateway(store, AWAY) as client, watching(client) as source:
        greeted(source)
        host, port = client.address.removeprefix("http://").split(":")
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect((host, int(port)))
            shown = client.shown["Authorization"]
            request = f"GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: {shown}\r\n\r\n"
            stuck.sendall(request.encode())
            assert b"hello" in b"".join(iter_until(stuck, b"hello"))
            for number in range(4):
                note(store, f"much {number}", times=1500)
                ids = [source.until("change").id for _ in range(1500)]
                assert ids == list(range(1500 * number + 1, 1500 * number + 1501))


def iter_until(channel: socket.socket, end: bytes) -> Iterator[bytes]:
    seen = b""
    while end not in seen:
        part = channel.recv(1024)
        assert part
        seen += part
        yield part


def test_the_streams_end_cleanly_when_the_gateway_stops(store: Store) -> None:
    lay_down(store)
    with ExitStack() as stack:
        with running_gateway(store, AWAY) as client:
            source = stack.enter_context(watching(client))
            source.until("telescope")
            source.until("frames")
        assert source.next() is None


def test_no_stream_begins_while_the_database_is_away(store: Store) -> None:
    with running_gateway(store, AWAY) as client:
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE audit_log")
        answer = client.get("/api/v1/events")
        assert answer.status_code == 503
        assert "readyz" in answer.json()["what_to_do"]
