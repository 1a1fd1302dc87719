"""A client of a telescope's command port that hides nothing: what tests of the simulator speak with."""

from __future__ import annotations

import base64
import itertools
import json
import socket
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from skyrelay_simulators.telescope import Endpoint


class RawSeestarClient:
    """One connection; ``events`` holds all that came unasked.

    Parameters
    ----------
    endpoint
        The telescope's.
    """

    def __init__(self, endpoint: Endpoint, within_s: float = 10.0) -> None:
        self._socket = socket.create_connection((endpoint.host, endpoint.rpc_port), within_s)
        self._file = self._socket.makefile("rwb")
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def send(self, line: bytes) -> None:
        """Send bytes as they are."""
        self._file.write(line)
        self._file.flush()

    def read_line(self) -> bytes:
        """Read a line, with its end; empty once the telescope has hung up."""
        return self._file.readline()

    def request(self, method: str, params: Any = None, **fields: Any) -> dict[str, Any]:
        """Ask, and give the reply of the same id; what comes before it goes to ``events``."""
        number = next(self._ids)
        self.send(json.dumps({"id": number, "method": method, "params": params, **fields}).encode() + b"\r\n")
        while (message := self._message()).get("id") != number:
            self.events.append(message)
        return message

    def result(self, method: str, params: Any = None) -> Any:
        """Ask, and give the result of a good reply."""
        reply = self.request(method, params)
        assert reply["code"] == 0, reply
        return reply["result"]

    def code(self, method: str, params: Any = None, **fields: Any) -> int:
        """Ask, and give the reply's code."""
        code: int = self.request(method, params, **fields)["code"]
        return code

    def next_event(self, name: str) -> dict[str, Any]:
        """Wait for an event of that name."""
        while (message := self._message()).get("Event") != name:
            self.events.append(message)
        return message

    def authenticate(self, private_pem: bytes) -> int:
        """Sign the challenge; give the code of ``verify_client``."""
        challenge = self.result("get_verify_str", "verify")["str"]
        key = serialization.load_pem_private_key(private_pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(challenge.encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - the protocol's hash
        return self.code("verify_client", {"sign": base64.b64encode(signature).decode(), "data": challenge})

    def _message(self) -> dict[str, Any]:
        line = self.read_line()
        assert line, "the telescope hung up"
        message: dict[str, Any] = json.loads(line)
        return message
