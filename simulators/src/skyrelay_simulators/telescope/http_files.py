"""The telescope's file port (80 in life): the eMMC over HTTP, with Range, without a login."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path

from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.emmc import NotOnEmmcError
from skyrelay_simulators.telescope.faults import CutDownload, StallDownload
from skyrelay_simulators.telescope.http_wire import Head, HttpServer, Request

_CHUNK = 256 * 1024  # bytes read and sent at a time
_RANGE = re.compile(r"bytes=(?P<first>[0-9]*)-(?P<last>[0-9]*)")

SendBody = Callable[[asyncio.StreamWriter, Path, int, int], Awaitable[None]]


class UnsatisfiableRangeError(Exception):
    """No byte of the file lies in the range asked for."""


async def send_part(writer: asyncio.StreamWriter, path: Path, start: int, length: int) -> None:
    """Send ``length`` bytes of a file from ``start``."""
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (chunk := file.read(min(_CHUNK, length))):
            writer.write(chunk)
            await writer.drain()
            length -= len(chunk)


class FileServer:
    """Serves the eMMC.

    Parameters
    ----------
    device
        The telescope.
    send_body
        Sends the bytes of a file: what a test replaces to send fewer, or more slowly.
    """

    def __init__(self, device: Device, send_body: SendBody = send_part) -> None:
        self._device = device
        self._http = HttpServer(self._respond)
        self.send_body = send_body

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen at these addresses; give the real port."""
        return await self._http.start(hosts, port)

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        await self._http.stop()

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._device.latency_s)
        status = await self._send(request, writer)
        params = {"path": request.path, "range": request.headers.get("range")}
        self._device.journal.note("http", request.peer, request.verb, params=params, code=status)

    async def _send(self, request: Request, writer: asyncio.StreamWriter) -> HTTPStatus:
        if request.verb not in {"GET", "HEAD"}:
            return _refuse(writer, HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        try:
            path = self._device.emmc.locate(request.path)
        except NotOnEmmcError:
            return _refuse(writer, HTTPStatus.NOT_FOUND)
        if not path.is_file():
            return _refuse(writer, HTTPStatus.FORBIDDEN)  # a web server without folder listings
        return await self._send_file(request, writer, path)

    async def _send_file(self, request: Request, writer: asyncio.StreamWriter, path: Path) -> HTTPStatus:
        size = path.stat().st_size  # noqa: ASYNC240 - a local disk answers at once
        try:
            part = parse_range(request.headers.get("range", ""), size)
        except UnsatisfiableRangeError:
            return _refuse(
                writer, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"}
            )
        head = _file_head(path, size, part)
        writer.write(head.to_bytes())
        if request.verb == "GET":
            start, length = (part.start, len(part)) if part is not None else (0, size)
            await self._send_body(writer, path, start, length)
        return head.status

    async def _send_body(self, writer: asyncio.StreamWriter, path: Path, start: int, length: int) -> None:
        """Send the bytes promised, or as many as a fault lets through."""
        if cut := self._device.faults.take(CutDownload, path.name):
            await self.send_body(writer, path, start, int(length * cut.share))
            raise ConnectionAbortedError("fault: the download is cut short")
        if stall := self._device.faults.take(StallDownload, path.name):
            await self.send_body(writer, path, start, int(length * stall.share))
            await asyncio.Event().wait()  # until the client or the telescope hangs up
        await self.send_body(writer, path, start, length)


def parse_range(header: str, size: int) -> range | None:
    """Read a Range header for a file of ``size`` bytes.

    Returns
    -------
    range or None
        The offsets asked for; `None` for the whole file (no range, or not one that we know).

    Raises
    ------
    UnsatisfiableRangeError
        If the range begins behind the file's end.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match["first"] or match["last"]):
        return None
    if match["first"]:
        last = int(match["last"]) if match["last"] else size - 1
        part = range(int(match["first"]), min(last, size - 1) + 1)
    else:
        part = range(max(0, size - int(match["last"])), size)
    if not part:
        raise UnsatisfiableRangeError(header)
    return part


def _file_head(path: Path, size: int, part: range | None) -> Head:
    headers = {
        "Content-Type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "Content-Length": str(size if part is None else len(part)),
        "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if part is None:
        return Head(HTTPStatus.OK, headers)
    return Head(
        HTTPStatus.PARTIAL_CONTENT, headers | {"Content-Range": f"bytes {part.start}-{part.stop - 1}/{size}"}
    )


def _refuse(
    writer: asyncio.StreamWriter, status: HTTPStatus, headers: dict[str, str] | None = None
) -> HTTPStatus:
    writer.write(Head(status, {"Content-Length": "0"} | (headers or {})).to_bytes())
    return status
