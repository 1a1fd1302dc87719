"""Finding simulated telescopes over UDP."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from skyrelay.seestar.discovery import Discovered, broadcast_addresses, discover

SHORT = timedelta(seconds=0.3)


def test_every_telescope_is_found_once_by_its_serial(simulate: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "MyWorks").mkdir(parents=True)
    first, second = simulate(), simulate(serial="2b4c", root=other, model="Seestar S30")
    addresses = [("127.0.0.1", telescope.endpoint.udp_port) for telescope in (second, first, first)]
    assert discover(addresses, listen=SHORT) == (
        Discovered("1d3fe189", "127.0.0.1", "Seestar S50", "S50_1d3fe189", 0),
        Discovered("2b4c", "127.0.0.1", "Seestar S30", "S30_2b4c", 0),
    )


def test_the_question_is_repeated(simulate: Any) -> None:
    telescope = simulate()
    discover([("127.0.0.1", telescope.endpoint.udp_port)], listen=timedelta(seconds=1.2))
    assert len(telescope.journal.entries(channel="udp")) == 3


def test_the_last_answer_wins_and_noise_is_skipped() -> None:
    answers = [
        b"noise",
        b'{"id":1,"code":0,"result":{"sn":"a","model":"old"}}',
        b'{"id":1,"code":0,"result":{"sn":"a","model":"new"}}',
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as telescope:
        telescope.bind(("127.0.0.1", 0))
        telescope.settimeout(5)

        def answer() -> None:
            _, asker = telescope.recvfrom(1000)
            for data in answers:
                telescope.sendto(data, asker)

        thread = threading.Thread(target=answer)
        thread.start()
        found = discover([telescope.getsockname()], listen=SHORT)
        thread.join()
    assert [(one.serial, one.model) for one in found] == [("a", "new")]


def test_nobody_there_is_no_error() -> None:
    assert discover(["no-such-host.invalid", "a..b", ("127.0.0.1", 1)], listen=SHORT) == ()


def test_everybody_is_asked() -> None:
    assert broadcast_addresses()[-1] == "255.255.255.255"
