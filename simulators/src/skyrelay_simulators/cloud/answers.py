"""How the server says no."""

from __future__ import annotations

from typing import Any


class Refused(Exception):  # noqa: N818 - an answer of the server, not a fault of ours
    """The server says no: a status and a body of JSON."""

    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


class Broken(Exception):  # noqa: N818 - the state that it shows
    """The server falls over what it was sent: status 500 and a web page, as the real one does."""


def json_object(value: object) -> dict[str, Any]:
    """Give a JSON object; what is empty, or missing, is an empty one.

    Raises
    ------
    Broken
        If it is something else: the real server does not check.
    """
    if not value:
        return {}
    if not isinstance(value, dict):
        raise Broken(f"an object was expected, not {type(value).__name__}")
    return value
