"""Files of the archive as answers: confined to it, streamed, in parts, and only when they have changed.

The books name the files; they are not trusted for that. Each is opened component by component below the
archive's folder, and a symbolic link on the way is refused, wherever it leads.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from skyrelay.archive_paths import locate
from skyrelay_gateway.byte_ranges import ByteRange, NotSatisfiable, parse_range
from skyrelay_gateway.etags import is_known
from skyrelay_gateway.problems import problem_response

_CHUNK_BYTES = 256 * 1024
_UNSAFE_IN_NAME = '"\\/%'
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe in its place blocks nobody


class NotKept(Exception):  # noqa: N818 - the state it names
    """There is no such file in the archive; the message says what there is instead."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """An open file of the archive; ``tag`` changes whenever its content does."""

    file: BinaryIO
    size: int
    modified_at: datetime
    tag: str

    @property
    def last_modified(self) -> str:
        """The time of its last change, as headers give it."""
        return format_datetime(self.modified_at, usegmt=True)


def open_kept(root: Path, path: str, sha256: str | None) -> KeptFile:
    """Open a file of the archive.

    Parameters
    ----------
    root
        The archive's folder.
    path
        Below it, as the books have it.
    sha256
        Of its content, as the books have it.

    Raises
    ------
    NotKept
        If it is not there, is no plain file, or is not inside the archive.
    """
    try:
        locate(root, path)
        descriptor = _open_below(root, PurePosixPath(path).parts)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path in the archive"
        raise NotKept(f"{reason}") from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise NotKept("it is no plain file")
    modified_at = datetime.fromtimestamp(int(facts.st_mtime), UTC)
    tag = f'"{(sha256 or "")[:32]}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'
    return KeptFile(os.fdopen(descriptor, "rb"), facts.st_size, modified_at, tag)


def _open_below(root: Path, parts: tuple[str, ...]) -> int:
    """Open ``root/parts…`` without following a symbolic link below ``root``."""
    folder = os.open(root, _OPEN_FOLDER)
    try:
        for name in parts[:-1]:
            inner = os.open(name, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _OPEN_FILE, dir_fd=folder)
    finally:
        os.close(folder)


def answer_with(
    kept: KeptFile, request_headers: Headers, media_type: str, name: str | None = None
) -> Response:
    """Answer with a file, or a part of it, or with the word that the caller has it already.

    Parameters
    ----------
    kept
        The open file; the answer closes it.
    request_headers
        ``If-None-Match``, ``Range`` and ``If-Range`` are heeded.
    name
        What the file is to be saved as; `None` for one that is shown in a page.
    """
    headers = {
        "ETag": kept.tag,
        "Last-Modified": kept.last_modified,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # kept by the browser, and asked about each time
    }
    if name is not None:
        headers["Content-Disposition"] = _attachment(name)
    if is_known(request_headers.get("if-none-match"), kept.tag):
        kept.file.close()
        return Response(status_code=304, headers=headers)
    try:
        part = _part_asked_for(kept, request_headers)
    except NotSatisfiable as error:
        kept.file.close()
        return _refuse_range(kept.size, error)
    return _KeptFileResponse(kept, part, media_type, headers)


def _part_asked_for(kept: KeptFile, request_headers: Headers) -> ByteRange | None:
    condition = request_headers.get("if-range")
    if condition is not None and condition.strip() not in {kept.tag, kept.last_modified}:
        return None  # it changed since the caller had its first part: the whole of it anew
    return parse_range(request_headers.get("range"), kept.size)


def _refuse_range(size: int, error: NotSatisfiable) -> Response:
    return problem_response(
        416,
        f"There are no such bytes: {error}.",
        "Ask for a range inside the file, or for the whole without the header Range.",
        headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
    )


def _attachment(name: str) -> str:
    plain = "".join("_" if each in _UNSAFE_IN_NAME or not " " <= each <= "~" else each for each in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class _KeptFileResponse(StreamingResponse):
    """Streams a part of an open file, and closes it whatever happens; a HEAD reads nothing."""

    def __init__(
        self, kept: KeptFile, part: ByteRange | None, media_type: str, headers: Mapping[str, str]
    ) -> None:
        wanted = part or ByteRange(0, kept.size)
        all_headers = {**headers, "Content-Length": str(wanted.length)}
        if part is not None:
            all_headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{kept.size}"
        super().__init__(_chunks(kept.file, wanted), 206 if part else 200, all_headers, media_type)
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if scope["method"] == "HEAD":
                start = {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
                await send(start)
                await send({"type": "http.response.body", "body": b""})
            else:
                await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(self._kept.file.close)


def _chunks(file: BinaryIO, wanted: ByteRange) -> Iterator[bytes]:
    file.seek(wanted.start)
    left = wanted.length
    while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
    if left:  # the caller must not take what is missing for the end of the file
        raise OSError(f"the file became shorter while it was sent: {left} bytes are missing")
