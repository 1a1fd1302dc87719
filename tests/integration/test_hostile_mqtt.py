"""Whatever a broker, or anybody at it, says: it costs no connection and no switch that a person flips."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyrelay.mqtt import BrokerState, Message, MqttConnection
from skyrelay.settings import HomeAssistantSettings, MqttSettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.migrate import migrate
from skyrelay.store.pauses import is_paused
from skyrelay_cloud_agent.home_assistant.presence import Presence
from support.mqtt_broker import Broker
from support.recorded_night import RecordedNight
from support.waiting import eventually

_ACCEPTED = b"\x20\x02\x00\x00"  # CONNACK of MQTT 3.1.1


class BrokerOfBytes:
    """Says the next of some bytes to each connection, and hangs up; the one with the last stays."""

    def __init__(self, *said: bytes) -> None:
        self._said = said
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._open: list[socket.socket] = []
        self.taken = 0

    @property
    def settings(self) -> MqttSettings:
        """Where it is."""
        return MqttSettings(host="127.0.0.1", port=self._listening.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (*self._open, self._listening):
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # shut down
                return
            self._open.append(connection)
            self.taken += 1
            with suppress(OSError):  # it may have hung up
                self._speak(connection)

    def _speak(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        connection.recv(65536)  # CONNECT
        connection.sendall(self._said[min(self.taken, len(self._said)) - 1])
        if self.taken < len(self._said):
            connection.shutdown(socket.SHUT_WR)


def publish(topic: bytes, payload: bytes) -> bytes:
    """Write a PUBLISH packet, whose topic need not be one."""
    body = len(topic).to_bytes(2, "big") + topic + payload
    length, rest = bytearray(), len(body)
    while True:
        rest, part = divmod(rest, 128)
        length.append(part | (0x80 if rest else 0))
        if not rest:
            return b"\x30" + bytes(length) + body


_TOPIC = st.binary(min_size=1, max_size=20) | st.sampled_from(
    [b"\xff\xfe", b"\xed\xa0\x80", b"a\x00b", b"#", b"+/+", b"$SYS/x", b"/", b"a" * 2000]
)


@settings(max_examples=4)  # half a second each, which the connection takes to end
@given(st.lists(st.tuples(_TOPIC, st.binary(max_size=50)), min_size=5, max_size=20))
def test_a_message_with_any_topic_costs_neither_the_connection_nor_the_next(
    messages: list[tuple[bytes, bytes]],
) -> None:
    heard: list[Message] = []
    strange = b"".join(publish(topic, payload) for topic, payload in messages)
    with BrokerOfBytes(_ACCEPTED + strange + publish(b"ok", b"!")) as broker:
        connection = MqttConnection(broker.settings, on_message=heard.append)
        connection.start()
        try:
            eventually(lambda: Message("ok", b"!") in heard)
            assert (connection.state, broker.taken) == (BrokerState.CONNECTED, 1)
        finally:
            connection.stop()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        _ACCEPTED + b"\xff" * 50,
        _ACCEPTED + b"\x30\x02\x00\x09",
        b"\x20\x02\x00\xff",
    ],
    ids=["http", "ones", "a topic cut off", "refused"],
)
def test_what_is_no_mqtt_is_left_and_the_broker_tried_again(said: bytes) -> None:
    with BrokerOfBytes(said, _ACCEPTED) as broker:
        connection = MqttConnection(broker.settings)
        connection.start()
        try:
            eventually(lambda: connection.state is BrokerState.CONNECTED)
            assert broker.taken == 2
        finally:
            connection.stop()


_SWITCH = st.sampled_from(["node", "telescope/sn-garden", "telescope/no-such", "telescope/", "telescope/a/b"])
_SAID = st.binary(max_size=40) | st.sampled_from([b"ON", b"OFF", b"on", b"ON\n", b"", b"9" * 5000])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Give a broker, somebody at it, and the presence of a home with a telescope."""
    folder = tmp_path_factory.mktemp("home")
    store = Store(f"sqlite:///{folder / 'skyrelay.db'}")
    migrate(store)
    with store.write() as session:
        RecordedNight(session).telescope("garden")
    broker = Broker(folder / "broker")
    broker.start()
    home = Home(broker, store)
    yield home
    home.stop()
    broker.stop()
    store.close()


class Home:
    """Says what it likes at the broker of a home."""

    def __init__(self, broker: Broker, store: Store) -> None:
        on = HomeAssistantSettings(enabled=True)
        settings = Settings(setup="done", mqtt=broker.settings(), home_assistant=on)
        self._store = store
        self.presence = Presence(settings, Store(str(store.engine.url)))
        self.presence.start()
        self._speaker = MqttConnection(broker.settings())
        self._speaker.start()
        for each in (self.presence.connection, self._speaker):
            eventually(lambda each=each: each.state is BrokerState.CONNECTED, within_s=60)  # type: ignore[misc]

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish."""
        self._speaker.publish(Message(topic, payload, retain))

    def is_paused(self) -> bool:
        """Tell whether the home's stacking is paused."""
        with self._store.read() as session:
            return is_paused(session, None, None)

    def stop(self) -> None:
        """End."""
        self._speaker.stop()
        self.presence.stop()


@settings(max_examples=5)  # a second each, in which what is laid down is sent
@given(st.lists(st.tuples(_SWITCH, _SAID, st.booleans()), min_size=5, max_size=20))
def test_after_whatever_was_said_at_switches_a_person_is_heeded(
    home: Home, said: list[tuple[str, bytes, bool]]
) -> None:
    for place, payload, retain in said:
        home.say(f"skyrelay/{place}/pause/set", payload, retain=retain)
        home.say(f"skyrelay/{place}", payload, retain=retain)

    wished = not home.is_paused()

    def is_heeded() -> bool:
        home.say("skyrelay/node/pause/set", b"ON" if wished else b"OFF")
        return home.is_paused() is wished

    eventually(is_heeded, every_s=0.2)
    assert home.presence.connection.state is BrokerState.CONNECTED
    assert home.presence.turns()
