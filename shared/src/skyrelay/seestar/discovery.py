"""Finding telescopes in the network: who is there, by serial number.

A broadcast on UDP 4720; it leaves no bridge network (such as Docker's), hence the given addresses.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from skyrelay.seestar.codec import Reply, decode_line
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.fields import Fields

DISCOVERY_PORT = 4720
LISTEN = timedelta(seconds=2)
_PROBE_EVERY = timedelta(seconds=0.5)
_PROBE = json.dumps({"id": 1, "method": "scan_iscope", "params": ""}).encode() + b"\n\n"
_MAX_DATAGRAM = 65535
_MAX_FOUND = 256  # a home has a few; a flood of made-up serial numbers stays bounded
_SIOCGIFBRDADDR = 0x8919  # Linux: the broadcast address of an interface
_EVERYBODY = "255.255.255.255"


@dataclass(frozen=True, slots=True)
class Discovered:
    """A telescope that answered.

    Attributes
    ----------
    serial
        Its identity.
    host
        The address of its last answer; on USB Ethernet a telescope has two.
    model, ssid
        Product model and the telescope's own Wi-Fi; empty when it does not say.
    clients
        How many programs are connected to it, if it says so.
    """

    serial: str
    host: str
    model: str = ""
    ssid: str = ""
    clients: int | None = None


def discover(
    addresses: Iterable[str | tuple[str, int]] | None = None,
    *,
    listen: timedelta = LISTEN,
) -> tuple[Discovered, ...]:
    """Ask who is there and collect the answers.

    Parameters
    ----------
    addresses
        Hosts to ask, each with a port if it is not 4720; every broadcast address when not given.
    listen
        How long to collect; the question is repeated every half second.

    Returns
    -------
    tuple
        One entry a serial number, sorted by it; the last answer wins.

    Raises
    ------
    OSError
        If this machine gives no UDP socket.
    """
    asked = [_with_port(address) for address in (broadcast_addresses() if addresses is None else addresses)]
    found: dict[str, Discovered] = {}
    until = Deadline.after(listen)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        while not until.passed:
            _probe(channel, asked)
            _collect(channel, found, until.or_after(_PROBE_EVERY))
    return tuple(found[serial] for serial in sorted(found))


def broadcast_addresses() -> tuple[str, ...]:
    """Give each interface's directed broadcast address, and the one for everybody."""
    directed = {address for _, name in socket.if_nameindex() if (address := _broadcast_of(name))}
    return (*sorted(directed), _EVERYBODY)


def read_answer(data: bytes, host: str) -> Discovered | None:
    """Read a telescope's answer; `None` for anything else."""
    reply = decode_line(data)
    if not isinstance(reply, Reply) or reply.code != 0:
        return None
    result = Fields.of(reply.result)
    serial = result.text("sn")
    if not serial or not serial.isprintable() or len(serial) > 64:
        return None
    model = result.text("product_model") or result.text("model") or ""
    return Discovered(serial, host, model, result.text("ssid") or "", result.integer("tcp_client_num"))


def _with_port(address: str | tuple[str, int]) -> tuple[str, int]:
    return (address, DISCOVERY_PORT) if isinstance(address, str) else address


def _probe(channel: socket.socket, asked: Iterable[tuple[str, int]]) -> None:
    for address in asked:
        # One interface without a route, or a name that is none, must not keep the others from being asked.
        with contextlib.suppress(OSError, UnicodeError):
            channel.sendto(_PROBE, address)


def _collect(channel: socket.socket, found: dict[str, Discovered], until: Deadline) -> None:
    while not until.passed:
        channel.settimeout(max(until.left_s, 0.001))
        try:
            data, sender = channel.recvfrom(_MAX_DATAGRAM)
        except TimeoutError:
            return
        except ConnectionError:  # an earlier probe was bounced by its host
            continue
        _note(found, read_answer(data, str(sender[0])))


def _note(found: dict[str, Discovered], telescope: Discovered | None) -> None:
    if telescope is not None and (telescope.serial in found or len(found) < _MAX_FOUND):
        found[telescope.serial] = telescope


def _broadcast_of(interface: str) -> str | None:
    """Ask the kernel for an interface's broadcast address (Linux; elsewhere `None`)."""
    try:
        import fcntl  # not on every system
    except ImportError:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        try:
            answer = fcntl.ioctl(channel, _SIOCGIFBRDADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:  # it has none (a loopback, a tunnel), or this is no Linux
            return None
    address = socket.inet_ntoa(answer[20:24])
    return None if address == "0.0.0.0" else address  # noqa: S104 - what the kernel says for "none"
