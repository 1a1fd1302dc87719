"""The connection to an MQTT broker, against a real one: password, TLS, a broker that goes and comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from skyrelay.mqtt import BrokerState, Message, MqttConnection
from skyrelay.settings import MqttSettings
from support.mqtt_broker import PASSWORD, USERNAME, MakeBroker, make_broker
from support.waiting import eventually

__all__ = ["make_broker"]

Connect = Callable[..., MqttConnection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Give what makes connections; they end with the test."""
    made: list[MqttConnection] = []

    def make(settings: MqttSettings, **options: Any) -> MqttConnection:
        made.append(MqttConnection(settings, **options))
        made[-1].start()
        return made[-1]

    yield make
    for connection in made:
        connection.stop()


def is_connected(connection: MqttConnection) -> bool:
    return connection.state is BrokerState.CONNECTED


@pytest.mark.parametrize(
    "options", [{}, {"secured": True}, {"secured": True, "tls": True}], ids=["open", "password", "tls"]
)
def test_a_message_arrives(make_broker: MakeBroker, connect: Connect, options: dict[str, bool]) -> None:
    broker, heard = make_broker(**options), list[Message]()
    listener = connect(broker.settings(), topics={"sky/temperature"}, on_message=heard.append)
    eventually(lambda: is_connected(listener))
    speaker = connect(broker.settings())

    def said() -> list[Message]:  # QoS 1, but the subscription may come later than the first of them
        speaker.publish(Message("sky/other", b"1"))
        speaker.publish(Message("sky/temperature", b"-18.5"))
        return heard

    eventually(said)
    assert set(heard) == {Message("sky/temperature", b"-18.5")}


def test_what_the_broker_kept_says_so(make_broker: MakeBroker, connect: Connect) -> None:
    broker, heard = make_broker(), list[Message]()
    connect(broker.settings()).publish(Message("sky", b"1", is_retained=True))

    def is_kept() -> bool:
        late = MqttConnection(broker.settings(), topics={"sky"}, on_message=heard.append)
        late.start()
        eventually(lambda: is_connected(late))
        late.stop()
        # Who comes before the broker has it hears it as anybody does.
        return any(message.is_retained for message in heard)

    eventually(is_kept)
    assert heard[-1] == Message("sky", b"1", is_retained=True)


def test_a_wrong_password_is_named_and_a_new_one_counts_at_the_next_attempt(
    make_broker: MakeBroker, connect: Connect
) -> None:
    broker, password = make_broker(secured=True), ["wrong-s3cret"]
    connection = connect(broker.settings(), login=lambda: (USERNAME, SecretStr(password[0])))
    eventually(lambda: connection.state is BrokerState.REFUSED)
    assert "mqtt.password" in connection.problem
    assert "s3cret" not in connection.problem
    password[0] = PASSWORD
    eventually(lambda: is_connected(connection), within_s=60)
    assert connection.problem == ""


def test_a_broker_without_a_trusted_certificate_is_told_nothing(
    make_broker: MakeBroker, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = make_broker(secured=True, tls=True)
    connection = connect(broker.settings(ca_file=None))
    eventually(lambda: connection.state is BrokerState.AWAY)
    assert "certificate" in connection.problem
    gone = connect(broker.settings(ca_file=broker.folder / "nowhere.pem"))
    eventually(lambda: gone.state is BrokerState.AWAY)
    assert "mqtt.ca_file" in gone.problem
    assert PASSWORD not in capsys.readouterr().out + connection.problem


def test_a_broker_that_goes_and_comes_is_found_again_and_subscribed_to(
    make_broker: MakeBroker, connect: Connect
) -> None:
    broker, heard = make_broker(), list[Message]()
    listener = connect(broker.settings(), topics={"sky"}, on_message=heard.append)
    eventually(lambda: is_connected(listener))
    broker.stop()
    eventually(lambda: listener.state is BrokerState.AWAY)
    broker.start()
    eventually(lambda: is_connected(listener), within_s=60)
    speaker = connect(broker.settings())

    def said() -> list[Message]:
        speaker.publish(Message("sky", b"2"))
        return heard

    assert eventually(said)[0].payload == b"2"


def test_a_broker_that_was_never_there_is_found_when_it_comes(
    make_broker: MakeBroker, connect: Connect
) -> None:
    broker = make_broker()
    broker.stop()
    connection = connect(broker.settings())
    connection.publish(Message("sky", b"1", is_retained=True))
    connection.publish(Message("sky", b"2", is_retained=True))
    eventually(lambda: connection.state is BrokerState.AWAY)
    broker.start()
    heard: list[Message] = []
    connect(broker.settings(), topics={"sky"}, on_message=heard.append)
    eventually(lambda: heard, within_s=60)
    assert heard[0].payload == b"2"  # of what waited only the latest of a topic was sent


def test_the_will_is_said_when_the_line_breaks_and_not_at_a_stop(
    make_broker: MakeBroker, connect: Connect
) -> None:
    broker, heard = make_broker(), list[Message]()
    listener = connect(broker.settings(), topics={"a", "b", "end"}, on_message=heard.append)
    eventually(lambda: is_connected(listener))
    stopped = connect(broker.settings(), will=Message("a", b"gone"))
    eventually(lambda: is_connected(stopped))
    stopped.stop()
    with closing(socket.create_connection(("127.0.0.1", broker.port), 10)) as bare:
        # CONNECT of MQTT 3.1.1 with the will "gone" on "b"; then the line breaks without a DISCONNECT
        bare.sendall(b"\x10\x17\x00\x04MQTT\x04\x06\x00\x3c\x00\x02me\x00\x01b\x00\x04gone")
        assert bare.recv(4) == b"\x20\x02\x00\x00"
    eventually(lambda: Message("b", b"gone") in heard)
    assert Message("a", b"gone") not in heard


def test_a_broker_that_says_nothing_delays_no_stop(connect: Connect) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        connection = connect(MqttSettings(host="127.0.0.1", port=silent.getsockname()[1]))
        silent.accept()[0].close()
        line, _ = silent.accept()
        with line:
            connection.stop()
            eventually(lambda: not [each for each in threading.enumerate() if each.name == "mqtt"])


def test_a_handler_that_raises_and_a_message_that_is_too_long_cost_no_connection(
    make_broker: MakeBroker, connect: Connect
) -> None:
    broker, heard = make_broker(), list[bytes]()

    def handle(message: Message) -> None:
        heard.append(message.payload)
        if message.payload == b"bad":
            raise ValueError(message.payload)

    listener = connect(broker.settings(), topics={"one", "two", "three"}, on_message=handle)
    eventually(lambda: is_connected(listener))
    speaker = connect(broker.settings())

    def said() -> bool:
        speaker.publish(Message("one", b"x" * 300_000))
        speaker.publish(Message("two", b"bad"))
        speaker.publish(Message("three", b"good"))
        return b"good" in heard

    eventually(said)
    assert set(heard) == {b"bad", b"good"}
    assert is_connected(listener)


def test_a_repr_holds_no_password(tmp_path: Path) -> None:
    settings = MqttSettings(host="h", username=USERNAME, password=SecretStr(PASSWORD))
    assert PASSWORD not in repr(settings) + repr(MqttConnection(settings)) + settings.model_dump_json()
