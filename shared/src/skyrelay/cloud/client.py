"""Calls to the observation network's cloud: typed values out, typed errors when it says no.

Source: the API's documentation (registration, heartbeat, headers), and answers of the public server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import quote

import requests
from pydantic import SecretStr
from requests import PreparedRequest, Response

from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.cloud.errors import (
    CloudAnswerLost,
    CloudAway,
    CloudBroken,
    CloudRefused,
    CredentialsRefused,
    ItemRefused,
)
from skyrelay.cloud.image_form import ImageForm, image_form
from skyrelay.cloud.interrupting import OpenSockets, interruptible
from skyrelay.cloud.reading import TooMuch, read_body
from skyrelay.staying_session import StayingSession
from skyrelay.version import __version__

_CONNECT_S, _READ_S = 5.0, 15.0
_MOST_BYTES = 1024 * 1024  # answers to these calls have a few hundred
_NAME = 200  # characters of a plan's name
_MOST_WORDS = 200  # characters of the server's own words in a message
_LONGEST_WAIT = timedelta(hours=1)  # that a Retry-After may ask for
_LATER = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
# What a server says of the one thing that it was sent; any other refusal is about us or the address.
_OF_THE_ITEM = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
_REFUSED_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class NodeCard:
    """What a node says of itself when it registers.

    Attributes
    ----------
    node_id
        The wished one; empty lets the server choose.
    latitude_deg, longitude_deg, elevation_m
        Of the site, as exact as its owner shares it; an unknown elevation is left out.
    utc_offset_h
        Local time − UTC, hours.
    """

    node_id: str
    owner_name: str
    latitude_deg: float = field(repr=False)
    longitude_deg: float = field(repr=False)
    elevation_m: float | None = field(repr=False)
    telescope_model: str
    filters: str
    utc_offset_h: float

    def payload(self) -> dict[str, object]:
        """Write it as the API wants it."""
        values: dict[str, object] = {
            "node_id": self.node_id,
            "owner_name": self.owner_name,
            "latitude": self.latitude_deg,
            "longitude": self.longitude_deg,
            "elevation": self.elevation_m,
            "telescope_model": self.telescope_model,
            "filters": self.filters,
            "utc_offset_hours": self.utc_offset_h,
        }
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Registration:
    """The server's answer to a registration; ``warning`` is what it says about the activation, if it does."""

    credentials: NodeCredentials
    warning: str | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The server took a heartbeat; ``server_at`` is the UTC time of its clock, where it says so."""

    server_at: datetime | None


@dataclass(frozen=True, slots=True)
class CloudReceipt:
    """The cloud has a measurement: under ``id``, where it says so, or ``duplicate``: it had it before."""

    id: str | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class CloudPlan:
    """A plan as the cloud gave it; nothing but its ``plan_id`` has been checked."""

    plan_id: str
    night: str
    generated_at: str
    items: tuple[Any, ...]


class CloudClient:
    """One cloud.

    Parameters
    ----------
    url
        Its address, without a slash at the end.
    connect_s, read_s
        How long to wait for a connection, and for a server that says nothing.

    Raises
    ------
    CloudAway
        By all calls: no connection, no (whole) answer in time, or a status that asks to come later.
    CloudBroken
        By all calls: status 500 and the like, which may be the fault of what was sent.
    CredentialsRefused
        By all calls: status 401 or 403.
    CloudRefused
        By all calls: any other refusal, or an answer that is not the cloud's.
    """

    def __init__(self, url: str, *, connect_s: float = _CONNECT_S, read_s: float = _READ_S) -> None:
        self._url, self._patience = url, (connect_s, read_s)
        self._answer_s = 2 * read_s  # for the whole body: one that drips must not hold us
        self._sockets = OpenSockets()
        self._session = StayingSession()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, interruptible(self._sockets))
        self._session.headers["User-Agent"] = f"skyrelay/{__version__}"
        self._session.auth = _leave_as_it_is

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def break_off(self) -> None:
        """End calls that other threads wait in (they raise `CloudAway`); later ones fail at once."""
        self._sockets.break_off()

    def register(self, card: NodeCard) -> Registration:
        """Register the node; the credentials of the answer are the only copy there is."""
        answer = self._post("/api/v1/nodes/register", card.payload()).body
        try:
            credentials = NodeCredentials(_text(answer, "node_id"), SecretStr(_text(answer, "api_key")))
        except ValueError as error:
            raise CloudRefused(f"the cloud's answer to the registration is of no use: {error}") from error
        return Registration(credentials, _text(answer, "activation_warning")[:_MOST_WORDS] or None)

    def heartbeat(self, credentials: NodeCredentials, conditions: Mapping[str, object]) -> Heartbeat:
        """Say that the node lives, and under what conditions (which replace those that the cloud has)."""
        answer = self._post("/api/v1/nodes/heartbeat", {"conditions": dict(conditions)}, credentials)
        if answer.body.get("ok") is False:
            raise CloudRefused(f"the cloud refuses the heartbeat: {_words(answer.body)}")
        return Heartbeat(answer.at)

    def plan(self, credentials: NodeCredentials) -> CloudPlan | None:
        """Ask for the plan; `None` when the cloud has none for this node now."""
        found = self._get("/api/v1/plan", credentials).get("plan")
        if found is None:
            return None
        if not isinstance(found, dict) or not _text(found, "plan_id") or len(_text(found, "plan_id")) > _NAME:
            raise CloudRefused("the cloud's plan is of no use: it has no plan_id")
        items = found.get("items")
        if not isinstance(items, list):
            raise CloudRefused(
                f"the cloud's plan {_text(found, 'plan_id')} is of no use: its items are no list"
            )
        return CloudPlan(
            _text(found, "plan_id"), _text(found, "night"), _text(found, "generated_at"), tuple(items)
        )

    def interrupts(self, credentials: NodeCredentials) -> tuple[Mapping[str, Any], ...]:
        """Ask for the interrupts, as the cloud writes them; those without an id are left out."""
        found = self._get("/api/v1/interrupts", credentials).get("interrupts")
        rows = found if isinstance(found, list) else []
        return tuple(row for row in rows if isinstance(row, dict) and _is_number(row.get("id")))

    def acknowledge(self, credentials: NodeCredentials, interrupt_id: str) -> None:
        """Say that an interrupt was taken care of."""
        answer = self._post(f"/api/v1/interrupts/{quote(interrupt_id, safe='')}/ack", {}, credentials).body
        if answer.get("ok") is False:
            raise CloudRefused(f"the cloud refuses the acknowledgement: {_words(answer)}")

    def send_measurement(self, credentials: NodeCredentials, payload: str) -> CloudReceipt:
        """Send a measurement, as often as it takes: the cloud knows it again.

        Parameters
        ----------
        payload
            The JSON text, sent exactly as it is; see `skyrelay.cloud.measurement`.

        Raises
        ------
        ItemRefused
            The cloud will not have this measurement; the others go on.
        """
        path, headers = "/api/v1/measurements", {"Content-Type": "application/json"}
        answer = self._ask(path, payload.encode(), _headers(credentials) | headers).body
        if answer.get("ok") is False:
            raise ItemRefused(f"the cloud refuses it: {_words(answer)}")
        number = answer.get("id")
        known = number if isinstance(number, int | str) and not isinstance(number, bool) else None
        return CloudReceipt(None if known is None else str(known), duplicate=answer.get("duplicate") is True)

    def send_image(
        self,
        credentials: NodeCredentials,
        file: Path,
        name: str,
        *,
        scrub_location: bool,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> str | None:
        """Send a FITS file; give where the cloud has put it, if it says so.

        Parameters
        ----------
        name
            What it is to be called there: one of the same name on the same UTC day is overwritten.
        scrub_location
            Blank the site's coordinates before the file leaves.
        on_progress
            Called with the bytes handed to the connection, and those of the whole.

        Raises
        ------
        ItemRefused
            The cloud will not have this image.
        CloudAnswerLost
            It may have arrived.
        skyrelay.cloud.errors.ImageUnreadable
            The file is gone, or no FITS. Nothing was sent.
        """
        with image_form(file, name, scrub_location=scrub_location, on_progress=on_progress) as form:
            headers = _headers(credentials) | {"Content-Type": form.content_type}
            try:
                answer = self._ask("/api/v1/images", form, headers).body
            except CloudAway as error:
                raise _lost(error, form) from error
        if answer.get("ok") is False:
            raise ItemRefused(f"the cloud refuses the image: {_words(answer)}")
        return _text(answer, "stored") or None

    def _post(self, path: str, payload: object, credentials: NodeCredentials | None = None) -> _Answer:
        headers = {} if credentials is None else _headers(credentials)
        return self._ask(path, json.dumps(payload).encode(), headers | {"Content-Type": "application/json"})

    def _get(self, path: str, credentials: NodeCredentials) -> Mapping[str, Any]:
        answer = self._ask(path, None, _headers(credentials)).body
        if answer.get("ok") is False or (answer.get("error") and len(answer) == 1):
            raise CloudAway(f"the cloud does not give it: {_words(answer)}")
        return answer

    def _ask(self, path: str, data: bytes | ImageForm | None, headers: Mapping[str, str]) -> _Answer:
        secret = headers.get("X-Api-Key", "")
        try:
            with self._session.request(
                "GET" if data is None else "POST",
                f"{self._url}{path}",
                data=data,
                headers=dict(headers),
                timeout=self._patience,
                allow_redirects=False,  # the key goes to the configured address and to no other
                stream=True,
            ) as response:
                return _take(response, _without(secret, _read(response, self._answer_s)))
        except requests.RequestException as error:
            raise CloudAway(f"the cloud does not answer ({_name(error)})") from error


@dataclass(frozen=True, slots=True)
class _Answer:
    body: Mapping[str, Any]
    at: datetime | None


def _leave_as_it_is(request: PreparedRequest) -> PreparedRequest:
    """Stand in for a login, so that requests takes none from a .netrc file."""
    return request


def _headers(credentials: NodeCredentials) -> dict[str, str]:
    return {"X-Node-Id": credentials.node_id, "X-Api-Key": credentials.api_key.get_secret_value()}


def _read(response: Response, within_s: float) -> bytes:
    try:
        return read_body(response, most_bytes=_MOST_BYTES, within_s=within_s)
    except TooMuch as error:
        raise CloudAway("the cloud's answer is too long, or too slow") from error


def _without(secret: str, content: bytes) -> bytes:
    """Blacken the key in an answer that repeats it: its words go into logs."""
    return content.replace(secret.encode(), b"(key)") if secret else content


def _take(response: Response, content: bytes) -> _Answer:
    status, body = response.status_code, _object(content)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        if content.strip() and body is None:
            raise CloudAway(
                "what answers at cloud.url is not the cloud: no JSON (a login page of the network?)"
            )
        return _Answer(body or {}, _date(response))
    raise _error(response, _words(body))


def _lost(error: CloudAway, form: ImageForm) -> CloudAway | CloudAnswerLost:
    """Tell an answer that never came from one that says that nothing was taken."""
    if isinstance(error.__cause__, requests.RequestException) and form.all_sent:
        return CloudAnswerLost(f"the image was sent, but its answer never came: {error}")
    return error


def _error(response: Response, words: str) -> CloudAway | CloudRefused:
    status = response.status_code
    if status in _REFUSED_LOGIN:
        return CredentialsRefused(
            f"the cloud refuses the node's credentials: {words}. Ask its operator, or set cloud.node_id and "
            "cloud.api_key to valid ones"
        )
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = CloudAway if status in _LATER else CloudBroken
        return kind(f"the cloud answers {status}: {words}", retry_after=_retry_after(response))
    if status in _OF_THE_ITEM:
        return ItemRefused(f"the cloud answers {status}: {words}")
    if status < HTTPStatus.BAD_REQUEST:
        return CloudRefused(f"the cloud answers {status}: it wants another address; set cloud.url to that")
    return CloudRefused(f"the cloud answers {status}: {words}")


def _object(content: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(content, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half a surrogate pair, which cannot be encoded, is a ValueError
        return None
    # A NUL, which PostgreSQL does not take, can stand there as an escape alone.
    return value if isinstance(value, dict) and b"\\u0000" not in content else None


def _refuse(word: str) -> NoReturn:
    """Refuse NaN and the like, which is no JSON, and which databases do not take."""
    raise ValueError(word)


def _words(body: Mapping[str, Any] | None) -> str:
    """Give the server's own reason, as one short printable line."""
    said = [body[key] for key in ("error", "detail", "message") if body.get(key)] if body else []
    text = " ".join(str(said[0] if said else "no reason given").split())
    return "".join(character for character in text if character.isprintable())[:_MOST_WORDS]


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _is_number(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and bool(value) and len(value) <= _NAME
    )


def _date(response: Response) -> datetime | None:
    return _http_date(response.headers.get("Date", ""))


def _retry_after(response: Response) -> timedelta | None:
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), _LONGEST_WAIT)
    until = _http_date(text)
    return None if until is None else max(timedelta(), min(until - datetime.now(UTC), _LONGEST_WAIT))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _name(error: requests.RequestException) -> str:
    return {
        requests.ConnectTimeout: "no connection in time",
        requests.ReadTimeout: "no answer in time",
        requests.exceptions.SSLError: "its certificate is not valid",
        requests.ConnectionError: "no connection",
    }.get(type(error), type(error).__name__)
