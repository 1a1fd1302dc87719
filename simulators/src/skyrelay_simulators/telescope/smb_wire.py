"""The wire between a client and the telescope's SMB server, where renames get lost or refused.

Guests neither sign nor encrypt, so that requests can be read, and answers changed, whichever server stands
behind. Offsets are of MS-SMB2: the header in 2.2.1.2, SET_INFO in 2.2.39.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.faults import LoseRename, RefuseRename
from skyrelay_simulators.telescope.tcp import TcpServer

_SMB2 = b"\xfeSMB"
_HEADER = 64  # bytes
_STATUS, _COMMAND, _NEXT, _MESSAGE_ID = 8, 12, 20, 24  # offsets in the header
_CLASS = _HEADER + 3  # of a SET_INFO: FileInfoClass, behind StructureSize and InfoType
_NAME_LENGTH, _NAME = _HEADER + 32 + 16, _HEADER + 32 + 20  # in the buffer of a rename
_SET_INFO, _CREATE = 17, 5
_RENAME, _NO_CLASS = 10, 0xFF
_PENDING, _ACCESS_DENIED = 0x103, 0xC0000022
_LONGEST = 16 * 1024 * 1024  # bytes of one message
_COMMANDS = (
    *("negotiate", "session_setup", "logoff", "tree_connect", "tree_disconnect", "create", "close", "flush"),
    *("read", "write", "lock", "ioctl", "cancel", "echo", "query_directory", "change_notify", "query_info"),
    *("set_info", "oplock_break"),
)


@dataclass(slots=True)
class _Talk:
    """What one connection's answers will suffer, by message id."""

    name: str
    refused: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)


class SmbWire:
    """Passes SMB on to the server behind it, and writes what was asked into the journal.

    Parameters
    ----------
    device
        The telescope.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._upstream = ("", 0)
        self._tcp = TcpServer(self._serve)

    async def start(self, hosts: Sequence[str], port: int, upstream: tuple[str, int]) -> int:
        """Listen at these addresses, for the server at ``upstream``; give the real port."""
        self._upstream = upstream
        return await self._tcp.start(hosts, port)

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        await self._tcp.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        talk = _Talk(f"{host}:{port}")
        server_reader, server_writer = await asyncio.open_connection(*self._upstream)
        ways = [
            asyncio.create_task(self._pass_requests(talk, reader, server_writer)),
            asyncio.create_task(self._pass_answers(talk, server_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server_writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_requests(
        self, talk: _Talk, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        async for message in _messages(reader):
            await asyncio.sleep(self._device.latency_s)
            for part in _parts(message):
                self._note(talk, part)
                if _is_rename(part):
                    self._suffer(talk, part)
            await _send(server, message)

    def _note(self, talk: _Talk, part: memoryview) -> None:
        command = _number(part, _COMMAND, "<H")
        name = _COMMANDS[command] if command < len(_COMMANDS) else str(command)
        params = None
        if command == _CREATE:
            params = {
                "path": _text(part, _number(part, _HEADER + 44, "<H"), _number(part, _HEADER + 46, "<H"))
            }
        if _is_rename(part):
            name, params = "rename", {"path": _text(part, _NAME, _number(part, _NAME_LENGTH, "<I"))}
        self._device.journal.note("smb", talk.name, name, params=params)

    def _suffer(self, talk: _Talk, part: memoryview) -> None:
        if self._device.faults.take(RefuseRename):
            part[_CLASS] = _NO_CLASS  # the server cannot do it; its answer is put into our words
            talk.refused.add(_number(part, _MESSAGE_ID, "<Q"))
        elif self._device.faults.take(LoseRename):
            talk.lost.add(_number(part, _MESSAGE_ID, "<Q"))

    async def _pass_answers(
        self, talk: _Talk, server: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async for message in _messages(server):
            for part in _parts(message):
                number, pending = _number(part, _MESSAGE_ID, "<Q"), _number(part, _STATUS, "<I") == _PENDING
                if number in talk.refused and not pending:
                    struct.pack_into("<I", part, _STATUS, _ACCESS_DENIED)
                if number in talk.lost and not pending:
                    return
            await _send(writer, message)


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[bytearray]:
    """Give whole messages, each without the four bytes that tell its length; ends with the connection."""
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(4), "big")
            if length > _LONGEST:
                return
            message = bytearray(await reader.readexactly(length))
        except asyncio.IncompleteReadError:
            return
        yield message


async def _send(writer: asyncio.StreamWriter, message: bytearray) -> None:
    writer.write(len(message).to_bytes(4, "big") + message)
    await writer.drain()


def _parts(message: bytearray) -> Iterator[memoryview]:
    """Give the requests or answers of a message, which can be compounded; nothing of another dialect."""
    rest = memoryview(message)
    while len(rest) >= _HEADER and rest[:4] == _SMB2:
        yield rest
        step = _number(rest, _NEXT, "<I")
        if not step:
            return
        rest = rest[step:]


def _is_rename(part: memoryview) -> bool:
    return _number(part, _COMMAND, "<H") == _SET_INFO and len(part) > _NAME and part[_CLASS] == _RENAME


def _number(part: memoryview, offset: int, form: str) -> int:
    if len(part) < offset + struct.calcsize(form):
        return 0
    number: int = struct.unpack_from(form, part, offset)[0]
    return number


def _text(part: memoryview, start: int, length: int) -> str:
    return bytes(part[start : start + length]).decode("utf-16-le", "replace").replace("\\", "/")
