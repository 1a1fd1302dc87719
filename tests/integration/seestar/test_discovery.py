"""Finding simulated telescopes over UDP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from skyrelay.domain.asked import Asked, asked_of
from skyrelay.seestar.discovery import Discovered, broadcast_addresses, discover

SHORT = timedelta(seconds=0.3)


def test_every_telescope_is_found_once_by_its_serial(simulate: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "MyWorks").mkdir(parents=True)
    first, second = simulate(), simulate(serial="2b4c", root=other, model="Seestar S30")
    addresses = [("127.0.0.1", telescope.endpoint.udp_port) for telescope in (second, first, first)]
    assert discover(addresses, listen=SHORT) == (
        Discovered("1d3fe189", "127.0.0.1", "Seestar S50", "S50_1d3fe189", 0, ("127.0.0.1",), locked=False),
        Discovered("2b4c", "127.0.0.1", "Seestar S30", "S30_2b4c", 0, ("127.0.0.1",), locked=False),
    )


def test_the_question_is_the_one_that_telescopes_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as telescope:
        telescope.bind(("127.0.0.1", 0))
        telescope.settimeout(5)
        discover([telescope.getsockname()], listen=SHORT)
        question = telescope.recv(1000)
    assert json.loads(question) == {"id": 1, "method": "scan_iscope", "params": ""}
    assert question.endswith(b"\n\n")


def test_the_question_is_repeated(simulate: Any) -> None:
    telescope = simulate()
    discover([("127.0.0.1", telescope.endpoint.udp_port)], listen=timedelta(seconds=1.2))
    assert len(telescope.journal.entries(channel="udp")) == 3


@contextmanager
def answering(*answers: bytes, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Answer each question with these datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as telescope:
        telescope.bind((host, 0))

        def answer() -> None:
            while (question := telescope.recvfrom(1000))[0]:
                for data in answers:
                    telescope.sendto(data, question[1])

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield telescope.getsockname()
        telescope.sendto(b"", telescope.getsockname())
        thread.join(5)


def said(serial: str, model: str = "") -> bytes:
    return json.dumps({"id": 1, "code": 0, "result": {"sn": serial, "model": model}}).encode()


def test_the_last_answer_wins_and_noise_is_skipped() -> None:
    with answering(b"noise", said("a", "old"), said("a", "new")) as address:
        found = discover([address], listen=SHORT)
    assert [(one.serial, one.model) for one in found] == [("a", "new")]


def test_a_telescope_that_answers_on_two_addresses_is_one_and_keeps_both() -> None:
    with answering(said("a"), host="127.0.0.2") as wifi, answering(said("a"), host="127.0.0.3") as usb:
        (found,) = discover([wifi, usb], listen=timedelta(seconds=0.8))
    assert sorted(found.hosts) == ["127.0.0.2", "127.0.0.3"]
    assert found.host == found.hosts[0]


def test_whoever_waits_for_one_telescope_waits_no_longer_once_it_has_answered() -> None:
    with answering(said("a"), said("b")) as address:
        assert discover([address], listen=timedelta(minutes=5), until={"a", "b"})


def test_names_networks_and_ports_can_be_asked(simulate: Any) -> None:
    telescope = simulate()
    port = telescope.endpoint.udp_port
    for asked in (f"localhost:{port}", f"127.0.0.1:{port}", Asked("127.0.0.1", port)):
        (found,) = discover([asked], listen=timedelta(seconds=5), until={"1d3fe189"})
        assert found.host == "127.0.0.1"
    asked_of_network = [replace(one, port=port) for one in asked_of("127.0.0.0/30")]
    (found,) = discover(asked_of_network, listen=timedelta(seconds=5), until={"1d3fe189"})
    assert found.host == "127.0.0.1"


def test_an_address_that_bounces_questions_keeps_no_other_from_being_asked(simulate: Any) -> None:
    telescope = simulate()
    closed = [("127.0.0.1", number) for number in (1, 2, 3)]
    addresses = [*closed, ("127.0.0.1", telescope.endpoint.udp_port)]
    assert len(discover(addresses, listen=timedelta(seconds=5), until={"1d3fe189"})) == 1


def test_nobody_there_is_no_error() -> None:
    assert discover(["no-such-host.invalid", "a..b", ("127.0.0.1", 1)], listen=SHORT) == ()


def test_everybody_is_asked() -> None:
    assert broadcast_addresses()[-1] == "255.255.255.255"
