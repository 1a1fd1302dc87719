"""Failures that a simulated server can be told to show, by endpoint."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EVERY_ENDPOINT = "*"
_PAGE = "<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"


def web_page(title: str) -> str:
    """Give a page of HTML, as a server or a proxy shows instead of an answer."""
    return _PAGE.format(title=title)


class Fault(BaseModel):
    """One way to fail.

    Attributes
    ----------
    mode
        ``status``: answer with ``status`` and ``body`` instead of doing anything.
        ``error-200``: answer 200 with ``{"error": …}``, nothing done.
        ``html-200``: answer 200 with a web page, nothing done.
        ``drop-after-store``: do it, then close the connection without an answer.
        ``reset``: reset the connection after ``after_bytes`` of the body, nothing done.
        ``delay``: do it, and answer ``seconds`` later.
        ``cut-answer``: do it, and close the connection after ``after_bytes`` of the answer's body.
        ``no-ranges``: do it as a server that knows no Range header.
        ``headers``: do it, with ``headers`` in the place of the answer's own.
    times
        How many requests it is for; for ever when left out.
    body
        Text as it is, or a JSON object; a suitable one when left out.
    retry_after
        The Retry-After header: seconds or an HTTP date.
    headers
        More headers of the answer.
    after_bytes
        For ``reset``: bytes of the body to read first; -1 for all of it. For ``cut-answer``: bytes sent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal[
        "status",
        "error-200",
        "html-200",
        "drop-after-store",
        "reset",
        "delay",
        "cut-answer",
        "no-ranges",
        "headers",
    ]
    times: int | None = Field(default=None, ge=1)
    status: int = Field(default=503, ge=200, le=599)
    body: str | dict[str, object] | None = None
    retry_after: int | str | None = None
    headers: dict[str, str] = {}
    after_bytes: int = Field(default=0, ge=-1)
    seconds: float = Field(default=1.0, ge=0.0)

    @property
    def answers(self) -> bool:
        """Whether the fault is an answer, given instead of doing what was asked."""
        return self.mode in {"status", "error-200", "html-200"}

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Give status, headers and body of the answer."""
        is_page = self.mode == "html-200"
        status = self.status if self.mode == "status" else 200
        default = web_page("Down for maintenance") if is_page else {"error": self._words(status)}
        body = default if self.body is None else self.body
        content_type = "application/json" if isinstance(body, dict) else "text/html; charset=utf-8"
        headers = {"content-type": content_type}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        payload = json.dumps(body) if isinstance(body, dict) else body
        return status, headers | self.headers, payload.encode()

    def _words(self, status: int) -> str:
        return "Something went wrong." if self.mode == "error-200" else f"Simulated failure {status}."


class FaultBoard:
    """The faults that are switched on. Safe to use from several threads.

    Parameters
    ----------
    endpoints
        Names of the server's endpoints.
    """

    def __init__(self, endpoints: Collection[str]) -> None:
        self._endpoints = frozenset(endpoints) | {EVERY_ENDPOINT}
        self._lock = threading.Lock()
        self._faults: dict[str, deque[Fault]] = {}

    def set(self, endpoint: str, faults: Sequence[Fault]) -> None:
        """Show these faults at an endpoint (``*``: at all), one after the other; none clears it.

        Raises
        ------
        ValueError
            If there is no such endpoint.
        """
        if endpoint not in self._endpoints:
            raise ValueError(f"no endpoint {endpoint!r}; there are {', '.join(sorted(self._endpoints))}")
        with self._lock:
            self._faults[endpoint] = deque(faults)

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def shown(self) -> Mapping[str, list[Fault]]:
        """Give what is still to be shown."""
        with self._lock:
            return {endpoint: list(faults) for endpoint, faults in self._faults.items() if faults}

    def take(self, endpoint: str) -> Fault | None:
        """Give the fault for the request at hand, and count it."""
        with self._lock:
            for faults in (self._faults.get(endpoint), self._faults.get(EVERY_ENDPOINT)):
                if faults:
                    return _use(faults)
        return None


def _use(faults: deque[Fault]) -> Fault:
    fault = faults[0]
    if fault.times is None:
        return fault
    faults.popleft()
    if fault.times > 1:
        faults.appendleft(fault.model_copy(update={"times": fault.times - 1}))
    return fault
