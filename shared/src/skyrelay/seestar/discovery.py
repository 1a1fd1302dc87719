"""Finding telescopes in the network: who is there, by serial number.

A broadcast on UDP 4720; it leaves no bridge network (such as Docker's), hence the given addresses.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from skyrelay.domain.asked import DISCOVERY_PORT, Asked, asked_of
from skyrelay.seestar.codec import Reply, decode_line
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.fields import Fields, JsonValue

__all__ = ["DISCOVERY_PORT", "Discovered", "broadcast_addresses", "discover", "read_answer"]

LISTEN = timedelta(seconds=2)
_PROBE_EVERY = timedelta(seconds=0.5)
_PROBE = json.dumps({"id": 1, "method": "scan_iscope", "params": ""}).encode() + b"\n\n"
_MAX_DATAGRAM = 65535
_MAX_FOUND = 256  # a home has a few; a flood of made-up serial numbers stays bounded
_MAX_HOSTS = 8  # of one telescope: Wi-Fi, its own access point, USB Ethernet
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
        The address of its last answer.
    model, ssid
        Product model and the telescope's own Wi-Fi; empty when it does not say.
    clients
        How many programs are connected to it, if it says so.
    hosts
        All addresses that it answered from, the last first: on USB Ethernet a telescope has two.
    locked
        Its ``connect_lock``, if it says so. The name is all that is documented; it is shown, not obeyed.
    """

    serial: str
    host: str
    model: str = ""
    ssid: str = ""
    clients: int | None = None
    hosts: tuple[str, ...] = ()
    locked: bool | None = None


def discover(
    addresses: Iterable[str | tuple[str, int] | Asked] | None = None,
    *,
    listen: timedelta = LISTEN,
    until: Collection[str] = (),
) -> tuple[Discovered, ...]:
    """Ask who is there and collect the answers.

    Parameters
    ----------
    addresses
        Hosts to ask, by address or name, each with a port if it is not 4720, or networks such as
        ``192.168.1.0/24``; every broadcast address when not given.
    listen
        How long to collect; the question is repeated every half second.
    until
        Serial numbers; once all of these have answered, nobody else is waited for.

    Returns
    -------
    tuple
        One entry a serial number, sorted by it; the last answer wins, all addresses are kept.

    Raises
    ------
    OSError
        If this machine gives no UDP socket.
    ValueError
        If an address is none.
    """
    asked = _Questions(broadcast_addresses() if addresses is None else addresses)
    found: dict[str, Discovered] = {}
    end = Deadline.after(listen)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        while not end.passed and not _all_found(found, until):
            asked.put(channel)
            _collect(channel, found, end.or_after(_PROBE_EVERY), until)
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
    return Discovered(
        serial=serial,
        host=host,
        model=result.text("product_model") or result.text("model") or "",
        ssid=result.text("ssid") or "",
        clients=result.integer("tcp_client_num"),
        hosts=(host,),
        locked=_truth(result.members.get("connect_lock")),
    )


class _Questions:
    """The addresses to ask. Names are looked up beside the asking: a resolver may take its time."""

    def __init__(self, addresses: Iterable[str | tuple[str, int] | Asked]) -> None:
        asked = dict.fromkeys(one for address in addresses for one in _asked(address))
        self._ready = [(one.host, one.port) for one in asked if not one.is_name]
        for one in asked:
            if one.is_name:
                threading.Thread(target=self._look_up, args=(one,), name="look up", daemon=True).start()

    def put(self, channel: socket.socket) -> None:
        """Ask everybody whose address is known by now."""
        for address in tuple(self._ready):
            # One interface without a route must not keep the others from being asked.
            with contextlib.suppress(OSError):
                _send(channel, address)

    def _look_up(self, one: Asked) -> None:
        with contextlib.suppress(OSError, UnicodeError):  # no name that this network knows: nobody to ask
            found = socket.getaddrinfo(one.host, one.port, socket.AF_INET, socket.SOCK_DGRAM)
            self._ready += dict.fromkeys((str(entry[4][0]), one.port) for entry in found)


def _send(channel: socket.socket, address: tuple[str, int]) -> None:
    try:
        channel.sendto(_PROBE, address)
    except OSError as error:
        if error.errno != errno.ECONNREFUSED:  # which an earlier question met, not this one
            raise
        channel.sendto(_PROBE, address)


def _asked(address: str | tuple[str, int] | Asked) -> tuple[Asked, ...]:
    if isinstance(address, Asked):
        return (address,)
    return asked_of(address) if isinstance(address, str) else (Asked(*address),)


def _all_found(found: Collection[str], wanted: Collection[str]) -> bool:
    return bool(wanted) and set(wanted) <= set(found)


def _collect(
    channel: socket.socket, found: dict[str, Discovered], end: Deadline, until: Collection[str]
) -> None:
    while not end.passed and not _all_found(found, until):
        channel.settimeout(max(end.left_s, 0.001))
        try:
            data, sender = channel.recvfrom(_MAX_DATAGRAM)
        except TimeoutError:
            return
        except ConnectionError:  # an earlier probe was bounced by its host
            continue
        _note(found, read_answer(data, str(sender[0])))


def _note(found: dict[str, Discovered], telescope: Discovered | None) -> None:
    if telescope is None:
        return
    known = found.get(telescope.serial)
    if known is not None:
        others = tuple(host for host in known.hosts if host != telescope.host)
        found[telescope.serial] = replace(telescope, hosts=(telescope.host, *others)[:_MAX_HOSTS])
    elif len(found) < _MAX_FOUND:
        found[telescope.serial] = telescope


def _truth(value: JsonValue) -> bool | None:
    return value if isinstance(value, bool) else None


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
