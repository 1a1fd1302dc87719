r"""JSON-RPC frames of port 4700: bytes in, typed messages out, and back.

One JSON object a line, lines end ``\r\n``. Replies carry the request's ``id``; events come unasked
between them at any moment, also during the handshake (seen live, firmware 8.89).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from skyrelay.seestar.fields import Fields, JsonValue, as_json

MAX_LINE_BYTES = 8 * 2**20  # replies of 1 MB are real (albums); beyond 8 MB the line is noise
_SHOWN_BYTES = 120  # of a line that is no message, for the log


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request.

    Attributes
    ----------
    id
        The request's.
    method
        The request's, as repeated by the firmware; may be empty.
    result
        What was asked for.
    code
        0, or the firmware's error code (-1 where it gave an error without one).
    error
        The error in the firmware's words, or empty.
    """

    id: int
    method: str
    result: JsonValue
    code: int = 0
    error: str = ""

    def __repr__(self) -> str:
        """Leave the result out: it may be a location, a challenge, or a megabyte."""
        return f"Reply(id={self.id}, method={self.method!r}, code={self.code})"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the telescope says unasked, such as ``BatchStack`` or ``PiStatus``."""

    name: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Garbage:
    """A line that is no message: skipped, counted."""

    reason: str
    start: bytes = b""


Message = Reply | Event | Garbage


def encode_request(request_id: int, method: str, params: JsonValue = None) -> bytes:
    """Write a request.

    ``verify`` stands beside ``params``: inside of them newer firmware (7.06 on) rejects it.
    """
    request: dict[str, JsonValue] = {"id": request_id, "method": method}
    if params is not None:
        request["params"] = params
    request["verify"] = True
    return json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\r\n"


def decode_line(line: bytes) -> Message | None:
    """Read one line; `None` for an empty one.

    Bytes that are no UTF-8 become U+FFFD: one odd file name must not hide the others in a listing.
    """
    text = line.decode("utf-8", errors="replace").strip("\r\n\t \0")
    if not text:
        return None
    try:
        members = as_json(json.loads(text))
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        return Garbage("no JSON", line[:_SHOWN_BYTES])
    if not isinstance(members, dict):
        return Garbage("no JSON object", line[:_SHOWN_BYTES])
    return _message(Fields(members)) or Garbage("neither reply nor event", line[:_SHOWN_BYTES])


class Decoder:
    """Cuts a stream of bytes into messages, however the network split or merged them."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._pending = bytearray()
        self._searched = 0  # bytes of _pending that are known to hold no line's end
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take the next bytes and give the messages that they complete.

        A line longer than the bound is skipped to its end, in bounded memory.
        """
        self._pending += data
        while (end := self._pending.find(b"\n", self._searched)) >= 0:
            line = bytes(self._pending[:end])
            del self._pending[: end + 1]
            self._searched = 0
            if message := self._complete(line):
                yield message
        self._bound()

    def _complete(self, line: bytes) -> Message | None:
        too_long = self._skipping or len(line) > self._max_line_bytes
        self._skipping = False
        return Garbage("too long", line[:_SHOWN_BYTES]) if too_long else decode_line(line)

    def _bound(self) -> None:
        if len(self._pending) > self._max_line_bytes:
            self._pending.clear()
            self._skipping = True
        self._searched = len(self._pending)


def _message(members: Fields) -> Reply | Event | None:
    if name := members.text("Event"):
        return Event(name, members)
    request_id = members.members.get("id")
    if not isinstance(request_id, int) or isinstance(request_id, bool):
        return None
    error = members.members.get("error")
    code = members.integer("code")
    if code is None:
        code = -1 if error else 0
    return Reply(
        id=request_id,
        method=members.text("method") or "",
        result=members.members.get("result"),
        code=code,
        error="" if error is None else str(error).encode("utf-8", "replace").decode()[:200],
    )
