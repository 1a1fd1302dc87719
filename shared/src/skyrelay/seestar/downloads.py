"""Files of the telescope over its HTTP server: resumed, measured, and whole before they get their name.

On a weak Wi-Fi a download ends early without an error (seen live): neither the end of a body nor a
status proves that the file is there. Its length must be the listing's and its FITS structure complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError, NewConnectionError

from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.fits_header import (
    BLOCK_BYTES,
    MAX_BLOCKS,
    FitsHeader,
    HeaderIncomplete,
    parse_header,
    promised_size,
)
from skyrelay.seestar.deadline import Deadline
from skyrelay.seestar.errors import DownloadIncomplete, FileMissing, FileNotWhole, NoAnswer
from skyrelay.seestar.part_file import PartFile
from skyrelay.seestar.paths import http_path
from skyrelay.seestar.reach import Port, addresses_of
from skyrelay.staying_session import StayingSession

CONNECT = timedelta(seconds=5)
SILENCE = timedelta(seconds=20)  # a body that says nothing for so long has ended
WHOLE_FILE = timedelta(minutes=10)  # 12 MB at 20 kB/s; what has arrived by then is kept
_TRIES_WITHOUT_PROGRESS = 3
_CHUNK_BYTES = 65536
_HEADER_READ = 2 * BLOCK_BYTES  # a sub-frame's header has two blocks
_FITS_SUFFIXES = frozenset({".fit", ".fits"})
_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,15})-\d{1,15}/(?P<total>\d{1,15})", re.ASCII)
_LENGTH = re.compile(r"\d{1,15}", re.ASCII)
_WHOLE, _RANGE, _PAST_THE_END = 200, 206, 416


class HttpFiles:
    """The HTTP server of one telescope; one thread at a time.

    Parameters
    ----------
    host, port
        The telescope's address.
    name
        What the configuration calls it.
    connect, silence
        How long to wait for a connection, and for the next bytes.
    """

    def __init__(
        self,
        host: str,
        port: int = 80,
        *,
        name: str = "",
        connect: timedelta = CONNECT,
        silence: timedelta = SILENCE,
    ) -> None:
        self._port = Port(name or host, host, port, "http_port")
        self._timeouts = (connect.total_seconds(), silence.total_seconds())
        self._session = StayingSession()
        self._session.trust_env = False  # no proxy of the environment stands between us and the telescope
        self._session.headers["Accept-Encoding"] = "identity"  # lengths are those of the file

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def read_header(self, folder: str, name: str) -> FitsHeader:
        """Read a FITS file's header by ranges: a few kB instead of the file.

        Raises
        ------
        FileMissing, Unreachable, HeaderIncomplete, NotFits, NameUnsafe
        """
        data = b""
        while len(data) < MAX_BLOCKS * BLOCK_BYTES:
            more = self._read_range(folder, name, len(data), max(_HEADER_READ, len(data)))
            data += more
            try:
                return parse_header(data)
            except HeaderIncomplete:
                if not more:
                    raise
        return parse_header(data)

    def download(
        self,
        folder: str,
        name: str,
        to: Path,
        expected_size: int | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> Path:
        """Fetch a file; it takes its name only when it is whole.

        Parameters
        ----------
        to
            The file's final path. What has arrived waits beside it as ``<name>.part`` and is resumed,
            by a later call too where the server can tell that the file is still the same.
        expected_size
            The listing's size in bytes; `None` trusts the server's.
        deadline
            By when to give up; `WHOLE_FILE` from now when not given.

        Raises
        ------
        DownloadIncomplete
            If less arrived than there is; call again.
        FileNotWhole
            If the file is shorter than its header promises, or not of the listing's size.
        FileMissing, Unreachable, NotFits, NameUnsafe, TransientError
        """
        part = PartFile(to)
        self._fetch(folder, name, part, expected_size, deadline or Deadline.after(WHOLE_FILE))
        self._check_structure(part, name)
        part.finish()
        return to

    def _fetch(self, folder: str, name: str, part: PartFile, expected: int | None, until: Deadline) -> None:
        """Ask for what is missing until nothing is, as long as each few tries bring something."""
        tries_left = _TRIES_WITHOUT_PROGRESS
        while tries_left and not until.passed:
            before = part.size
            if self._fetch_more(folder, name, part, expected, until):
                return
            tries_left = _TRIES_WITHOUT_PROGRESS if part.size > before else tries_left - 1
        raise DownloadIncomplete(
            f"{self._port.telescope}: {name} broke off after {part.size} bytes; it will be resumed"
        )

    def _fetch_more(
        self, folder: str, name: str, part: PartFile, expected: int | None, until: Deadline
    ) -> bool:
        """Take in what one request brings; tell whether the file is complete now."""
        headers = {"Range": f"bytes={part.size}-"} if part.size else {}
        if part.size and part.tag:
            headers["If-Range"] = part.tag
        try:
            with self._response(folder, name, headers) as response, self._broken_answers():
                total = self._total(response, part, name, expected)
                if total is not None and part.size < total:
                    part.append(_arriving(response, until), total)
        except NoAnswer:
            return False
        return part.size == total

    def _total(
        self, response: requests.Response, part: PartFile, name: str, expected: int | None
    ) -> int | None:
        """Give the file's size if what comes fits to what has arrived; else start afresh, `None`."""
        if response.status_code == _PAST_THE_END and part.size == expected:
            return expected
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        fits = response.status_code == _RANGE and match is not None and int(match["first"]) == part.size
        fits = fits and part.tag in {"", _validator(response)}  # a server may not know If-Range
        if not fits:
            part.restart()
        if not fits and response.status_code != _WHOLE:
            return None
        total = int(match["total"]) if fits and match else _content_length(response, expected)
        if total is None or expected not in {None, total}:
            part.restart()
            raise FileNotWhole(
                f"{self._port.telescope}: {name} has {total} bytes, its listing says {expected}"
            )
        part.remember(_validator(response))
        return total

    def _check_structure(self, part: PartFile, name: str) -> None:
        """Compare a FITS file's size with what its header promises; what fails is not resumed."""
        if Path(name).suffix.lower() not in _FITS_SUFFIXES:
            return
        try:
            promised = promised_size(part.header())
        except SkyrelayError:
            part.restart()
            raise
        if part.size < promised:
            size = part.size
            part.restart()
            raise FileNotWhole(
                f"{self._port.telescope}: {name} has {size} bytes, its header promises {promised}"
            )

    def _read_range(self, folder: str, name: str, start: int, length: int) -> bytes:
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._response(folder, name, headers) as response, self._broken_answers():
            if response.status_code == _PAST_THE_END:
                return b""
            skip = (
                start if response.status_code == _WHOLE else 0
            )  # a server without ranges begins at the beginning
            return _first_bytes(response, skip + length)[skip:]

    @contextmanager
    def _response(self, folder: str, name: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        host = self._address()
        url = f"http://{f'[{host}]' if ':' in host else host}:{self._port.number}{http_path(folder, name)}"
        with self._broken_answers():
            response = self._session.get(
                url, headers=headers, stream=True, timeout=self._timeouts, allow_redirects=False
            )
        with response:
            if response.status_code == requests.codes.not_found:
                raise FileMissing(f"{self._port.telescope}: there is no {name} in {folder}")
            if response.status_code not in {_WHOLE, _RANGE, _PAST_THE_END}:
                raise TransientError(
                    f"{self._port.telescope}: HTTP answers {response.status_code} for {name}"
                )
            yield response

    def _address(self) -> str:
        """Look the host up, bounded in time as its connection is."""
        try:
            return addresses_of(self._port.host, Deadline.after(timedelta(seconds=self._timeouts[0])))[0]
        except (OSError, UnicodeError) as error:
            raise self._port.away(error) from error

    @contextmanager
    def _broken_answers(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, HTTPError) as error:
            cause = _why_not_connected(error)
            if cause is not None:
                raise self._port.away(cause) from error
            raise NoAnswer(
                f"{self._port.telescope}: HTTP on port {self._port.number} broke off ({error})"
            ) from error


def _why_not_connected(error: Exception) -> BaseException | None:
    """Give the socket's error when no connection was made; `None` when it broke later."""
    if isinstance(error, requests.ConnectTimeout):
        return error
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return (reason.__cause__ or reason) if isinstance(reason, NewConnectionError) else None


def _content_length(response: requests.Response, expected: int | None) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if _LENGTH.fullmatch(length) else expected


def _validator(response: requests.Response) -> str:
    """Give what If-Range may carry: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _arriving(response: requests.Response, until: Deadline) -> Iterator[bytes]:
    """Give bytes as they come: reading whole chunks would lose the last one of a body that breaks off."""
    while not until.passed and (chunk := response.raw.read1(_CHUNK_BYTES)):
        yield chunk


def _first_bytes(response: requests.Response, length: int) -> bytes:
    data = b""
    for chunk in response.iter_content(BLOCK_BYTES):
        data += chunk
        if len(data) >= length:
            break
    return data[:length]
