"""A real MQTT broker (mosquitto) of the test's own, with or without a password and TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from skyrelay.mqtt import Message, MqttConnection
from skyrelay.settings import MqttSettings
from support.left_out import left_out
from support.ports import free_port
from support.waiting import eventually

USERNAME, PASSWORD = "skyrelay", "br0ker-s3cret"


class Broker:
    """A broker; ``secured`` wants the user name and password above, ``tls`` has a CA of its own."""

    def __init__(self, folder: Path, *, secured: bool = False, tls: bool = False) -> None:
        self.folder, self.port = folder, free_port()
        self.secured, self.tls = secured, tls
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(not secured).lower()}"]
        lines += self._password() if secured else []
        lines += self._certificate() if tls else []
        lines += ["user root"] if os.geteuid() == 0 else []
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def settings(self, **changes: object) -> MqttSettings:
        """Give what a home would configure for it."""
        login = {"username": USERNAME, "password": SecretStr(PASSWORD)} if self.secured else {}
        ca_file = self.folder / "ca.pem" if self.tls else None
        known = {"host": "127.0.0.1", "port": self.port, "tls": self.tls, "ca_file": ca_file, **login}
        return MqttSettings.model_validate({**known, **changes})

    def start(self) -> None:
        """Start it and wait until it takes connections; what it kept is gone."""
        command = [_program("mosquitto"), "-c", str(self.folder / "mosquitto.conf")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._listens)

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _listens(self) -> bool:
        with suppress(ConnectionRefusedError), closing(socket.create_connection(("127.0.0.1", self.port), 5)):
            return True
        return False

    def _password(self) -> list[str]:
        file = self.folder / "passwords"
        command = [_program("mosquitto_passwd"), "-b", "-c", str(file), USERNAME, PASSWORD]
        subprocess.run(command, check=True, capture_output=True)
        return [f"password_file {file}"]

    def _certificate(self) -> list[str]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker at home")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
        (self.folder / "ca.pem").write_bytes(certificate.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
        (self.folder / "key.pem").write_bytes(private)
        return [f"certfile {self.folder / 'ca.pem'}", f"keyfile {self.folder / 'key.pem'}"]


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        left_out(f"{name} is not installed: install the package mosquitto")
    return found


MakeBroker = Callable[..., Broker]


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Give what starts brokers; they end with the test."""
    brokers: list[Broker] = []

    def make(**options: bool) -> Broker:
        broker = Broker(tmp_path / f"broker-{len(brokers)}", **options)
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.stop()


class Station:
    """A weather station that publishes over a connection of its own."""

    def __init__(self, broker: Broker) -> None:
        self._connection = MqttConnection(broker.settings())
        self._connection.start()

    def say(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """Publish."""
        encoded = payload.encode() if isinstance(payload, str) else payload
        self._connection.publish(Message(topic, encoded, retain))

    def stop(self) -> None:
        """End."""
        self._connection.stop()
