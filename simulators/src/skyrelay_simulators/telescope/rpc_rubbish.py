"""What a bad line does to a reply: rubbish before it, packets split and merged."""

from __future__ import annotations

import json

from skyrelay_simulators.telescope.events import LINE_END
from skyrelay_simulators.telescope.faults import FaultBoard, Garbage

_NOBODYS_ID = 987_654_321
_HUGE_BYTES = 1_000_000
_KINDS = ("text", "utf8", "unknown_id", "huge")


def rubbish(garbage: Garbage, faults: FaultBoard) -> bytes:
    """Make a line of rubbish of the kind asked for."""
    kind = faults.choice(_KINDS) if garbage.kind == "any" else garbage.kind
    return {
        "text": b"*** buffer overrun in pi_server, dropping {]",
        "utf8": b'{"Event":"\xff\xfe\xc3","id":\xf0\x28\x8c}',
        "unknown_id": _reply_to_nobody("0"),
        "huge": _reply_to_nobody("x" * _HUGE_BYTES),
    }[kind] + LINE_END


def _reply_to_nobody(result: str) -> bytes:
    reply = {"jsonrpc": "2.0", "method": "test_connection", "result": result, "code": 0, "id": _NOBODYS_ID}
    return json.dumps(reply).encode()


def split(content: bytes, pieces: int) -> list[bytes]:
    """Cut into about so many pieces, in the middle of lines and letters."""
    size = -(-len(content) // pieces)
    return [content[start : start + size] for start in range(0, len(content), size)]


def merge(reply: bytes, event: bytes) -> tuple[bytes, bytes]:
    """Put a reply into one packet between two events, the second of them begun only; give its rest too."""
    half = len(event) // 2
    return event + reply + event[:half], event[half:]
