"""What CrowdSky's answers mean: JSON for the caller, or the error that says what to do.

Errors come as ``{"error": "…"}``, sometimes with status 200; a proxy in front may answer 200 with
a web page, 413, 502, or 503 with ``Retry-After``. Pure: bytes in, values or errors out.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import urlsplit

from skyrelay.crowdsky.errors import (
    AnswerLost,
    CredentialsRefused,
    CrowdSkyError,
    FileTooLarge,
    QuotaExceeded,
    ServerBroken,
    ServerBusy,
    UploadRefused,
)

MAX_WORDS = 300  # characters of the server's words that we repeat
MAX_RETRY_AFTER = timedelta(hours=6)  # a night must not be lost to a wrong Retry-After
_LOOKED_AT = 20_000  # characters of a page or an error in which words are looked for
_FORGOTTEN = "•••"  # stands where a secret stood

_TAGS = re.compile(r"<[^<>]*>")
_TITLE = re.compile(r"<title[^>]*>(?P<title>.*?)</title>", re.IGNORECASE | re.DOTALL)
_QUOTA = re.compile(
    r"quota|\bstorage (?:limit|space|full|exceeded)|out of (?:storage|space)|no space left"
    r"|insufficient storage|disk (?:is )?full|too (?:large|big)|exceeds? .*\b(?:[kmg]i?b|size|upload)\b",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"unauthori[sz]ed|authenticat|not logged in|log ?in (?:required|failed)"
    r"|(?:invalid|wrong|bad|incorrect) (?:user|password|credential|log ?in)",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"temporar|try again|later|maintenance|too many requests|rate limit|overload|\bbusy\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole.

    Attributes
    ----------
    status
        HTTP status.
    headers
        By name, whatever its case.
    body
        Decoded of any compression.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the answers to one kind of question.

    Attributes
    ----------
    asked
        What was asked, for messages: ``CrowdSky's list of stacks``.
    sending
        Whether a file was sent with it: then a refusal is about that file.
    missing
        What it means when the server itself, not a web page in its place, says 404; `None`: nothing.
    secrets
        What must never be repeated, should the server say it.
    """

    asked: str
    sending: bool = False
    missing: type[CrowdSkyError] | None = None
    secrets: Sequence[str] = field(default=(), repr=False)

    def rows(self, answer: Answer) -> list[dict[str, object]]:
        """Give the rows of a list.

        Raises
        ------
        CredentialsRefused, ServerBusy, ServerBroken
            If it is not a list of JSON objects: a list that cannot be read is not an empty one.
        """
        document = self.document(answer)
        if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
            raise ServerBroken(f"{self.asked}: the answer is no list of objects")
        return document

    def accepted(self, answer: Answer) -> dict[str, object]:
        """Give the answer to something that was sent, if it says ``ok``.

        Raises
        ------
        CredentialsRefused, QuotaExceeded, UploadRefused, ServerBusy, ServerBroken, AnswerLost
            If the server did not say ``ok``.
        """
        document = self.document(answer)
        if not isinstance(document, dict) or "ok" not in document:
            raise ServerBroken(f"{self.asked}: the answer says neither ok nor error", may_be_kept=True)
        if not document["ok"]:
            self._refuse(self._clean(document.get("message") or "no reason given"))
        return document

    def token(self, answer: Answer) -> str:
        """Give the token of a session.

        Raises
        ------
        CredentialsRefused, ServerBusy, ServerBroken
            If there is none in the answer.
        """
        document = self.document(answer)
        token = document.get("session_token") if isinstance(document, dict) else None
        if not isinstance(token, str) or not token:
            raise ServerBroken(f"{self.asked}: the answer has no session_token")
        return token

    def document(self, answer: Answer) -> object:
        """Give an answer's JSON.

        Raises
        ------
        CredentialsRefused, QuotaExceeded, UploadRefused, ServerBusy, ServerBroken, AnswerLost
            If the answer is a refusal, or not JSON.
        """
        document = _json(answer.body)
        words = self._words(document, answer.body)
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            self._fail(answer, words)
        if document is None:
            raise ServerBroken(f"{self.asked}: no JSON came, but {words}", may_be_kept=self.sending)
        if isinstance(document, dict) and document.get("error"):
            self._refuse(words)
        return document

    def _fail(self, answer: Answer, words: str) -> NoReturn:
        """Raise what an answer with a status other than 2xx means."""
        said = f"{self.asked}: {answer.status} {words}"
        if answer.status < HTTPStatus.OK or answer.status in range(300, 400):
            raise ServerBroken(f"{self.asked}: {_redirection(answer)}")
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise QuotaExceeded(said) if _QUOTA.search(words) else CredentialsRefused(said)
        if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise ServerBusy(said, retry_after=retry_after(answer.headers))
        if self.missing and answer.status == HTTPStatus.NOT_FOUND and isinstance(_json(answer.body), dict):
            raise self.missing(said)
        if self.sending:
            self._fail_to_send(answer, words, said)
        raise ServerBroken(said, retry_after=retry_after(answer.headers))

    def _fail_to_send(self, answer: Answer, words: str, said: str) -> NoReturn:
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise FileTooLarge(said)
        if answer.status == HTTPStatus.INSUFFICIENT_STORAGE:
            raise QuotaExceeded(said)
        if answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise QuotaExceeded(said) if _QUOTA.search(words) else UploadRefused(said)
        if answer.status == HTTPStatus.GATEWAY_TIMEOUT:
            # A proxy had the whole file and gave up waiting for the server behind it.
            raise AnswerLost(said)
        raise ServerBroken(said, retry_after=retry_after(answer.headers), may_be_kept=True)

    def _refuse(self, words: str) -> NoReturn:
        """Raise what ``{"error": words}`` with status 200 means."""
        said = f"{self.asked}: {words}"
        if _QUOTA.search(words):
            raise QuotaExceeded(said)
        if _LOGIN.search(words):
            raise CredentialsRefused(said)
        if _LATER.search(words):
            raise ServerBusy(said)
        raise UploadRefused(said) if self.sending else ServerBroken(said)

    def _words(self, document: object, body: bytes) -> str:
        """Give what the server says, fit to be shown to a person."""
        if isinstance(document, dict) and document.get("error"):
            return self._clean(document["error"])
        if document is not None:
            return ""
        page = body[:_LOOKED_AT].decode("utf-8", errors="replace")
        titled = _TITLE.search(page)
        beginning = self._clean(_TAGS.sub(" ", titled["title"] if titled else page))
        return f'a page that says "{beginning}"' if beginning else "an empty page"

    def _clean(self, said: object) -> str:
        words = said if isinstance(said, str) else json.dumps(said)
        for secret in filter(None, self.secrets):
            words = words.replace(secret, _FORGOTTEN)
        words = " ".join(printable(html.unescape(words[:_LOOKED_AT])).split())
        return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


def retry_after(
    headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> timedelta | None:
    """Read ``Retry-After``: seconds or an HTTP date, from 0 to `MAX_RETRY_AFTER`; `None` without one.

    A date is compared with the answer's own ``Date``: our clock may be wrong.
    """
    given = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", given, re.ASCII):
        wait_s = float(given[:9])
    elif (until := _http_date(given)) is not None:
        wait_s = (until - (_http_date(headers.get("Date", "")) or now())).total_seconds()
    else:
        return None
    return min(max(timedelta(seconds=wait_s), timedelta()), MAX_RETRY_AFTER)


def _http_date(given: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(given)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _redirection(answer: Answer) -> str:
    """Say where an answer wants to send us, by its host alone: the rest may hold a secret."""
    try:
        target = urlsplit(answer.headers.get("Location", ""))
        elsewhere = f"{target.scheme}://{target.hostname}" if target.hostname else "another page"
    except ValueError:
        elsewhere = "a place that is no address"
    return (
        f"status {answer.status} sends us on to {printable(elsewhere)[:MAX_WORDS]}; the login is not taken "
        "there. Is crowdsky.base_url right?"
    )


def printable(words: str) -> str:
    """Blank what moves a terminal's cursor, or cannot be seen."""
    return "".join(character if character.isprintable() else " " for character in words)


def _json(body: bytes) -> object:
    """Read JSON; `None` for what is none (and for ``null``, which nothing of CrowdSky's is)."""
    try:
        document: object = json.loads(body.decode("utf-8-sig"), parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError):
        return None
    return document
