"""Each answer of a cloud becomes a typed value or a typed error."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from pydantic import SecretStr

from skyrelay.cloud.client import CloudClient, CloudReceipt, NodeCard
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.cloud.errors import CloudAway, CloudBroken, CloudRefused, CredentialsRefused, ItemRefused
from support.small_cloud import Answer, SmallCloud

_CARD = NodeCard("", "Ada", 48.2, 16.4, 170.0, "ZWO Seestar S50", "TG", 1.0)
_NODE = NodeCredentials("node-1", SecretStr("key-of-node-1"))


@pytest.fixture
def client(cloud: SmallCloud) -> Iterator[CloudClient]:
    with CloudClient(cloud.url) as client:
        yield client


def test_registration(cloud: SmallCloud, client: CloudClient) -> None:
    registration = client.register(_CARD)
    assert registration.credentials == _NODE
    assert registration.warning is None
    call = cloud.calls[0]
    assert call.body == {
        "node_id": "",
        "owner_name": "Ada",
        "latitude": 48.2,
        "longitude": 16.4,
        "elevation": 170.0,
        "telescope_model": "ZWO Seestar S50",
        "filters": "TG",
        "utc_offset_hours": 1.0,
    }
    assert not {"X-Node-Id", "X-Api-Key", "Authorization"} & call.headers.keys()


def test_heartbeat(cloud: SmallCloud, client: CloudClient) -> None:
    client.register(_CARD)
    heartbeat = client.heartbeat(_NODE, {"utc_offset_hours": 1.0})
    assert heartbeat.server_at is not None
    call = cloud.calls[1]
    assert (call.headers["X-Node-Id"], call.headers["X-Api-Key"]) == ("node-1", "key-of-node-1")
    assert call.body == {"conditions": {"utc_offset_hours": 1.0}}


def test_unknown_credentials(client: CloudClient) -> None:
    with pytest.raises(CredentialsRefused, match="unknown node or key"):
        client.heartbeat(_NODE, {})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(500, b"<html>oops</html>"), CloudAway, "500"),
        (Answer(503), CloudAway, "503"),
        (Answer(429), CloudAway, "429"),
        (Answer(200, b"<html>Please accept our terms</html>"), CloudAway, "no JSON"),
        (Answer(200, b"[" * 100_000), CloudAway, "no JSON"),
        (Answer(200, b" " * 2_000_000), CloudAway, "too long"),
        (Answer(400, b'{"error": "location\\nmissing"}'), CloudRefused, "400: location missing"),
        (Answer(404), CloudRefused, "no reason given"),
        (Answer(302, headers={"Location": "http://127.0.0.1:1/"}), CloudRefused, "another address"),
        (Answer(200, b'{"ok": false, "error": "suspended"}'), CloudRefused, "suspended"),
    ],
)
def test_other_answers(
    cloud: SmallCloud, client: CloudClient, answer: Answer, kind: type[Exception], words: str
) -> None:
    cloud.answers.append(answer)
    with pytest.raises(kind, match=words):
        client.heartbeat(_NODE, {})


@pytest.mark.parametrize(
    "body", [{}, {"node_id": "a"}, {"node_id": 7, "api_key": "x"}, {"node_id": "a", "api_key": "b\n"}]
)
def test_a_registration_without_usable_credentials(
    cloud: SmallCloud, client: CloudClient, body: object
) -> None:
    cloud.answers.append(Answer(200, json.dumps(body).encode()))
    with pytest.raises(CloudRefused, match="of no use"):
        client.register(_CARD)


def test_it_may_say_when_to_come_again(cloud: SmallCloud, client: CloudClient) -> None:
    for said, expected in (
        ("120", timedelta(minutes=2)),
        ("99999999999", timedelta(hours=1)),
        ("soon", None),
    ):
        cloud.answers.append(Answer(503, headers={"Retry-After": said}))
        with pytest.raises(CloudAway) as caught:
            client.heartbeat(_NODE, {})
        assert caught.value.retry_after == expected


def test_a_measurement_is_sent_as_it_is_written(cloud: SmallCloud, client: CloudClient) -> None:
    client.register(_CARD)
    cloud.answers.append(Answer(200, b'{"ok": true, "id": 12}'))
    receipt = client.send_measurement(_NODE, '{"measurement": {"bjd": 2460761.50}, "conditions": {}}')
    assert receipt == CloudReceipt("12", duplicate=False)
    call = cloud.calls[1]
    assert call.path == "/api/v1/measurements"
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["X-Api-Key"] == "key-of-node-1"


@pytest.mark.parametrize(
    ("answer", "receipt"),
    [
        (Answer(200, b'{"ok": true, "id": null, "duplicate": true}'), CloudReceipt(None, duplicate=True)),
        (Answer(201, b'{"id": "m-7"}'), CloudReceipt("m-7")),
        (Answer(204, b""), CloudReceipt()),
    ],
)
def test_each_way_to_say_yes(
    cloud: SmallCloud, client: CloudClient, answer: Answer, receipt: CloudReceipt
) -> None:
    cloud.answers.append(answer)
    assert client.send_measurement(_NODE, "{}") == receipt


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, b'{"ok": false, "error": "out of bounds"}'), ItemRefused),
        (Answer(413), ItemRefused),
        (Answer(422), ItemRefused),
        (Answer(200, b'{"ok": false, "error": "no"}'), ItemRefused),
        (Answer(401), CredentialsRefused),
        (Answer(403), CredentialsRefused),
        (Answer(404), CloudRefused),
        (Answer(302), CloudRefused),
        (Answer(500, b"<html>oops</html>"), CloudBroken),
        (Answer(502), CloudAway),
        (Answer(503), CloudAway),
        (Answer(429), CloudAway),
        (Answer(200, b"<html>terms</html>"), CloudAway),
    ],
)
def test_each_way_to_say_no_to_a_measurement(
    cloud: SmallCloud, client: CloudClient, answer: Answer, kind: type[Exception]
) -> None:
    cloud.answers.append(answer)
    with pytest.raises(kind) as caught:
        client.send_measurement(_NODE, "{}")
    assert caught.type is kind


def test_nobody_there() -> None:
    with CloudClient("http://127.0.0.1:9") as client, pytest.raises(CloudAway, match="no connection"):
        client.heartbeat(_NODE, {})


def test_an_answer_that_repeats_the_key_does_not_bring_it_into_logs(
    cloud: SmallCloud, client: CloudClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cloud.answers.append(Answer(401, b'{"error": "key-of-node-1 is revoked"}'))
    with pytest.raises(CredentialsRefused) as caught:
        client.heartbeat(_NODE, {})
    assert "key-of-node-1" not in f"{caught.value}{caplog.text}"


def test_an_answer_that_drips_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.1)

        dripping = threading.Thread(target=drip)
        dripping.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with CloudClient(url, read_s=0.5) as client, pytest.raises(CloudAway, match="too slow"):
            client.heartbeat(_NODE, {})
        dripping.join(30)
        assert not dripping.is_alive()
