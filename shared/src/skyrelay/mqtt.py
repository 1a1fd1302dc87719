"""The connection to the home's MQTT broker: made again for as long as it is wanted, waited for by nobody.

One thread of our own does all that touches the network (`paho.mqtt.client.Client` is not safe to write from
two). Whoever uses the connection only looks at what has come, or lays down what is to go.
"""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import SecretStr

from skyrelay.logs import get_logger
from skyrelay.settings import MqttSettings

MOST_BYTES = 256 * 1024  # of a message; sensors send a few
_KEEPALIVE_S = 30  # a broker that says nothing for longer, even when asked, is away
_TURN_S = 0.5  # how long a stop, or a message that is laid down, may wait
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
_RETRY_JITTER = 0.25  # so that all that a broker's restart has cut off does not come back at once
_STOP_S = 1.0
_QOS = 1

_log = get_logger(__name__)

Login = Callable[[], tuple[str, SecretStr]]  # user name and password as they are configured now, or empty


@dataclass(frozen=True, slots=True)
class Message:
    """A message.

    Attributes
    ----------
    is_retained
        Whether the broker kept it, or is to keep it: then nobody knows how old it is that receives it.
    """

    topic: str
    payload: bytes
    is_retained: bool = False


class BrokerState(StrEnum):
    """How the connection stands, in words for a person."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    AWAY = "broker away"
    REFUSED = "refused by the broker"


class _Refused(Exception):  # noqa: N818 - the state it names
    """The broker takes no connection of ours."""


class MqttConnection:
    """A connection to a broker.

    What is sent while the line breaks may be lost: publish again what matters when `state` is connected anew.

    Parameters
    ----------
    settings
        The broker.
    login
        Asked before each attempt, so that credentials which a person changes count at the next one.
    topics
        What to subscribe to.
    on_message
        Told of each message, in the connection's own thread.
    will
        What the broker is to say for us when it loses us.
    on_connected
        Called each time that the broker has taken us, in the connection's own thread.

    Attributes
    ----------
    state, problem
        How it stands, and what is wrong, in words that hold no secret.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        login: Login | None = None,
        topics: Collection[str] = (),
        on_message: Callable[[Message], object] = lambda _: None,
        will: Message | None = None,
        on_connected: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings, self._login = settings, login or (lambda: (settings.username, settings.password))
        self._topics, self._on_message, self._will = sorted(topics), on_message, will
        self._on_connected = on_connected
        self._outgoing: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failures = 0
        self.state, self.problem = BrokerState.CONNECTING, ""
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin; nothing is waited for."""
        self._thread.start()

    def stop(self) -> None:
        """End; what was laid down is sent where the broker is there.

        A look-up or an attempt that hangs is left to the end of the process.
        """
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def publish(self, message: Message) -> None:
        """Lay a message down to be sent; while the broker is away the latest of each topic waits."""
        with self._lock:
            self._outgoing[message.topic] = message

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._live()
            except _Refused as error:
                self._enter(BrokerState.REFUSED, str(error))
            except OSError as error:  # no name, no route, a broken line, a certificate, a missing ca_file
                self._enter(BrokerState.AWAY, _words(error))
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread; it shows
                _log.exception("the MQTT connection fails")
                self._enter(BrokerState.AWAY, f"{type(error).__name__}: {error}")
            self._stopping.wait(self._delay_s())

    def _live(self) -> None:
        """Connect, and see to the connection until it ends."""
        client = self._client()
        try:
            client.connect(self._settings.host, self._settings.port_in_use, _KEEPALIVE_S)
            while not self._stopping.is_set():
                code = client.loop(_TURN_S)
                if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                    raise ConnectionError(f"the connection ended ({code.name})")
                if self.state is BrokerState.CONNECTED:
                    self._send_outgoing(client)
        finally:
            if self._stopping.is_set() and client.is_connected():
                self._send_outgoing(client)
            client.disconnect()

    def _client(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        username, password = self._login()
        if username:
            client.username_pw_set(username, password.get_secret_value() or None)
        if self._settings.tls:
            client.tls_set_context(_trusting(self._settings.ca_file))
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, _QOS, self._will.is_retained)
        client.on_connect, client.on_message = self._connected, self._received
        return client

    def _connected(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if reason.is_failure:
            raise _Refused(f"{reason}: check mqtt.username and mqtt.password")
        self._failures = 0
        self._enter(BrokerState.CONNECTED, "")
        if self._topics:
            client.subscribe([(topic, _QOS) for topic in self._topics])
        self._on_connected()

    def _received(self, _: Client, __: object, received: MQTTMessage) -> None:
        try:
            topic = received.topic
        except UnicodeDecodeError:  # to hang up, as MQTT has it, would meet a retained one again and again
            _log.info("a message has a topic that is no UTF-8", size_bytes=len(received.payload))
            return
        if len(received.payload) > MOST_BYTES:
            _log.info("a message is too long", topic=topic, size_bytes=len(received.payload))
            return
        try:
            self._on_message(Message(topic, bytes(received.payload), received.retain))
        except Exception:  # noqa: BLE001 - one message must not cost the connection; the log has it
            _log.exception("a message could not be taken", topic=topic)

    def _send_outgoing(self, client: Client) -> None:
        with self._lock:
            waiting, self._outgoing = self._outgoing, {}
        for message in waiting.values():
            client.publish(message.topic, message.payload, _QOS, message.is_retained)

    def _enter(self, state: BrokerState, problem: str) -> None:
        is_new = (state, problem) != (self.state, self.problem)
        self.state, self.problem = state, problem
        if is_new and not self._stopping.is_set():
            say = _log.warning if problem else _log.info
            say("the MQTT broker: a new state", state=str(state), problem=problem or None)

    def _delay_s(self) -> float:
        delay_s = min(_FIRST_RETRY_S * 2.0 ** min(self._failures, 10), _LONGEST_RETRY_S)
        self._failures += 1
        return delay_s * (1 + _RETRY_JITTER * (2 * random.random() - 1))  # noqa: S311 - it spreads load only


class _TidySocket(ssl.SSLSocket):
    """Is closed when its handshake fails: the client would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.sslsocket_class = _TidySocket
    return context


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message}): check mqtt.ca_file and mqtt.host"
    if isinstance(error, FileNotFoundError):
        return "mqtt.ca_file is not there"
    return error.strerror or str(error) or type(error).__name__
