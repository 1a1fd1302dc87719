"""Read an answer's body within a time and a size, however slowly its server sends it."""

from __future__ import annotations

import time

import requests
from requests import Response
from urllib3.exceptions import HTTPError, ReadTimeoutError

_PIECE = 16384


class TooMuch(Exception):  # noqa: N818 - what it is
    """The body is longer, or comes more slowly, than was allowed."""


def read_body(response: Response, *, most_bytes: int, within_s: float) -> bytes:
    """Give the body of a streamed answer.

    A read takes what is there: ``iter_content`` waits until its piece is full, which one that drips a byte
    now and then makes last for ever.

    Raises
    ------
    TooMuch
        If it is longer than ``most_bytes``, or is not over after ``within_s``.
    requests.RequestException
        If the connection fails meanwhile.
    """
    deadline, content = time.monotonic() + within_s, b""
    try:
        while piece := response.raw.read1(_PIECE, decode_content=True):
            content += piece
            if len(content) > most_bytes or time.monotonic() > deadline:
                raise TooMuch
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    except (HTTPError, OSError) as error:
        raise requests.ConnectionError(error) from error
    return content
