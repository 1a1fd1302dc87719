"""The discovery port."""

from __future__ import annotations

import json
import socket

from .conftest import MakeTelescope


def test_a_scan_is_answered_with_the_serial(make_telescope: MakeTelescope) -> None:
    telescope = make_telescope(model="Seestar S30")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        address = (telescope.endpoint.host, telescope.endpoint.udp_port)
        udp.sendto(b"is anybody there?", address)
        udp.sendto(b'{"id":1,"method":"scan_iscope","params":""}\n\n', address)
        reply = json.loads(udp.recv(4096))
    assert (reply["id"], reply["code"], reply["method"]) == (1, 0, "scan_iscope")
    assert reply["result"] == {
        "sn": "1d3fe189",
        "product_model": "Seestar S30",
        "ssid": "S30_1d3fe189",
        "tcp_client_num": 0,
        "connect_lock": False,
        "is_verified": True,
    }
    assert len(telescope.journal.entries(channel="udp")) == 1
