"""The client of CrowdSky's web API: lists, uploads and downloads the user's stacks, takes raw frames there.

Source: the endpoints' documentation in ``seestarpy`` and what the server is seen to do. Every call
opens a connection of its own: a call comes once in minutes, and a connection that the server has
quietly closed meanwhile would look like an answer that was lost.
"""

from __future__ import annotations

import base64
import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.auth import HTTPBasicAuth

from skyrelay.crowdsky.answers import Answer, Reader, printable
from skyrelay.crowdsky.body import Progress, StreamedForm, raw_frame_form, stack_form
from skyrelay.crowdsky.downloading import StackDownload
from skyrelay.crowdsky.errors import (
    AnswerLost,
    CredentialsRefused,
    CrowdSkyError,
    ServerBroken,
    SessionUnknown,
    StackMissing,
    Unreachable,
    UploadInterrupted,
)
from skyrelay.crowdsky.stacks import RawFrameUpload, ServerStack, StackUpload, UploadReceipt
from skyrelay.errors import ConfigurationError
from skyrelay.staying_session import StayingSession
from skyrelay.version import __version__

CONNECT_TIMEOUT_S = 60.0  # in use by the older clients: the server is sometimes slow to accept
READ_TIMEOUT_S = 300.0  # between bytes: the server checks a whole stack before it answers
MAX_ANSWER_BYTES = 64 * 1024 * 1024  # some 150,000 rows of my_stacks
_PIECE_BYTES = 65_536
_LIST, _UPLOAD, _DOWNLOAD, _RAW = (
    f"/api/{script}.php" for script in ("my_stacks", "upload_stack", "download_stack", "raw_upload")
)


class CrowdSkyClient:
    """A user's view of a CrowdSky server.

    Parameters
    ----------
    base_url
        ``https://crowdsky.univie.ac.at``, or another server that speaks the same API.
    username, password
        The web login's. While either is empty every call raises `CredentialsRefused` unsent.
    connect_timeout_s, read_timeout_s
        Seconds to connect, and seconds between two bytes.

    Raises
    ------
    ConfigurationError
        If ``base_url`` is no web address, or ``username`` has a colon (HTTP Basic has no way to
        send one).
    """

    def __init__(
        self,
        base_url: str,
        username: str,
        password: SecretStr | str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._base_url = _checked_url(base_url)
        if ":" in username:
            raise ConfigurationError("crowdsky.username holds a colon, which the login cannot carry")
        self._username = username
        self._password = password if isinstance(password, SecretStr) else SecretStr(password)
        self._timeout_s = (connect_timeout_s, read_timeout_s)

    def __repr__(self) -> str:
        """Name the server, and nobody."""
        return f"CrowdSkyClient({self._base_url!r})"

    def list_stacks(self, object_name: str | None = None) -> list[ServerStack]:
        """List the user's stacks that the server has processed.

        Parameters
        ----------
        object_name
            Only those of this object.

        Raises
        ------
        CredentialsRefused
            If the login is missing or wrong.
        Unreachable, ServerBusy, ServerBroken
            If there is no list to be had now. It does not mean that there are no stacks.
        """
        return [ServerStack.from_row(row) for row in self.list_rows(object_name)]

    def list_rows(self, object_name: str | None = None) -> list[dict[str, object]]:
        """List the same as the server sends it, with keys that we do not know. Raises as `list_stacks`."""
        params = {} if object_name is None else {"object": object_name}
        answer = self._exchange("GET", _LIST, params=params)
        return self._reader("CrowdSky's list").rows(answer)

    def upload_stack(self, upload: StackUpload, on_progress: Progress | None = None) -> UploadReceipt:
        """Send a stack.

        Parameters
        ----------
        on_progress
            Called with the bytes that have been handed to the connection, and those of the whole.

        Raises
        ------
        CredentialsRefused, QuotaExceeded
            Whatever is sent next would be refused as well.
        UploadRefused
            The server will not have this file.
        Unreachable, UploadInterrupted, ServerBusy, ServerBroken, StackUnreadable
            It was not taken; try again. (`ServerBroken.may_be_kept`: look first.)
        AnswerLost
            It may have been taken: look before sending it again.
        skyrelay.fits_header.FitsError
            Its location shall be left out, but its header cannot be read. Nothing was sent.
        """
        return UploadReceipt.from_answer(self.send_stack(upload, on_progress))

    def send_stack(self, upload: StackUpload, on_progress: Progress | None = None) -> dict[str, object]:
        """Send a stack, and give the server's answer as it came. Raises as `upload_stack` does."""
        with stack_form(upload, on_progress) as form:
            answer = self._exchange("POST", _UPLOAD, form=form)
        return self._reader(f"upload of {upload.file_name}", sending=True).accepted(answer)

    def download_stack(self, chunk_key: str, folder: Path, on_progress: Progress | None = None) -> Path:
        """Fetch a stack into a folder, under the name that the server gives it, as far as that is safe.

        What has arrived waits in a hidden folder beside it and is resumed, by a later call too where the
        server can tell that the file is still the same. A file that is there already is replaced only by
        one that it is the beginning of; otherwise the new one gets a number behind its name.

        Parameters
        ----------
        on_progress
            Called with the bytes that have arrived, and those of the whole if the server says so.

        Raises
        ------
        CredentialsRefused, StackMissing
            There is nothing to be had.
        Unreachable, ServerBusy, ServerBroken
            There is nothing to be had now.
        DownloadIncomplete
            It broke off several times; call again.
        NotAStack
            What came is no FITS file, or is shorter than its own header promises.
        skyrelay.errors.TransientError
            The folder cannot be written.
        skyrelay.arrivals.AlreadyArriving
            Another process is fetching the same stack into the same folder.
        """
        params = {"chunk_key": chunk_key}
        reader = self._reader(f"download of {printable(chunk_key)}", missing=StackMissing)

        def ask(headers: Mapping[str, str]) -> AbstractContextManager[requests.Response]:
            return self._response("GET", _DOWNLOAD, params=params, headers=headers)

        return StackDownload(ask, reader, chunk_key, folder, on_progress).run()

    def open_raw_session(self) -> str:
        """Begin a session of raw frames; give its token.

        Raises
        ------
        CredentialsRefused, Unreachable, ServerBusy, ServerBroken
        """
        return self._reader("session of raw frames").token(
            self._exchange("POST", _RAW, params={"action": "start"})
        )

    def send_raw_frame(self, frame: RawFrameUpload, on_progress: Progress | None = None) -> dict[str, object]:
        """Send a raw frame into a session, and give the server's answer as it came.

        Raises
        ------
        SessionUnknown
            The server does not know the session.
        CrowdSkyError, skyrelay.fits_header.FitsError
            As `upload_stack` does.
        """
        with raw_frame_form(frame, on_progress) as form:
            answer = self._exchange("POST", _RAW, params={"action": "file"}, form=form)
        asked = f"upload of {frame.path.name}"
        return self._reader(asked, sending=True, missing=SessionUnknown).accepted(answer)

    def finalize_raw_session(
        self, session_token: str, *, scrub_location: bool, overwrite: bool
    ) -> dict[str, object]:
        """Have a session's frames stacked, and give the server's answer as it came.

        Parameters
        ----------
        overwrite
            Whether stacks that the server has under the same chunk keys are deleted first: all of them,
            those of other filters and telescopes too.

        Raises
        ------
        SessionUnknown, CrowdSkyError
            As `send_raw_frame` does.
        """
        fields = {"session_token": session_token, "scrub_location": "1" if scrub_location else "0"}
        form = StreamedForm(fields | ({"overwrite": "1"} if overwrite else {}))
        answer = self._exchange("POST", _RAW, params={"action": "finalize"}, form=form)
        reader = self._reader("end of the session of raw frames", sending=True, missing=SessionUnknown)
        return reader.accepted(answer)

    def _exchange(
        self,
        method: str,
        endpoint: str,
        *,
        params: Mapping[str, str] | None = None,
        form: StreamedForm | None = None,
    ) -> Answer:
        with self._response(method, endpoint, params=params, form=form) as response:
            return Answer(response.status_code, response.headers, self._read(response, sent=form is not None))

    @contextmanager
    def _response(
        self,
        method: str,
        endpoint: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: StreamedForm | None = None,
    ) -> Iterator[requests.Response]:
        """Ask, and give the answer while its body is still to be read."""
        auth = self._auth()
        with StayingSession() as session:
            session.auth = auth
            session.headers["User-Agent"] = f"Skyrelay/{__version__}"
            # A proxy of the environment is honoured, but none can reach our own machine.
            session.trust_env = not _is_loopback(self._base_url)
            try:
                with session.request(
                    method,
                    self._base_url + endpoint,
                    params=params,
                    data=form,
                    headers={
                        **(headers or {}),
                        **({} if form is None else {"Content-Type": form.content_type}),
                    },
                    timeout=self._timeout_s,
                    allow_redirects=False,  # the login goes to the server that the user named, nowhere else
                    stream=True,
                ) as response:
                    yield response
            except requests.RequestException as error:
                raise self._failure(error, form) from error

    def _read(self, response: requests.Response, *, sent: bool) -> bytes:
        """Read an answer's body, which may be neither endless nor endlessly slow."""
        body = bytearray()
        deadline_s = time.monotonic() + self._timeout_s[1]
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                words = f"CrowdSky's answer is longer than {MAX_ANSWER_BYTES} bytes"
                raise ServerBroken(words, may_be_kept=sent)
            if time.monotonic() > deadline_s:
                raise requests.ReadTimeout
        return bytes(body)

    def _failure(self, error: requests.RequestException, form: StreamedForm | None) -> CrowdSkyError:
        host, why = urlsplit(self._base_url).netloc, _reason(error)
        if form is None or form.sent == 0 or isinstance(error, requests.ConnectTimeout):
            return Unreachable(f"CrowdSky at {host} is out of reach: {why}")
        if not form.all_sent:
            return UploadInterrupted(
                f"the connection to {host} broke after {form.sent} of {form.len} bytes: {why}"
            )
        return AnswerLost(f"the file was sent to {host}, but its answer never came: {why}")

    def _auth(self) -> HTTPBasicAuth:
        password = self._password.get_secret_value()
        if not self._username or not password:
            raise CredentialsRefused("CrowdSky's user name and password are not set")
        # As UTF-8 (RFC 7617): requests would write Latin-1, and put the password into its error.
        return HTTPBasicAuth(self._username.encode(), password.encode())

    def _reader(
        self, asked: str, *, sending: bool = False, missing: type[CrowdSkyError] | None = None
    ) -> Reader:
        password = self._password.get_secret_value()
        login = base64.b64encode(f"{self._username}:{password}".encode()).decode()
        return Reader(asked, sending=sending, missing=missing, secrets=(login, password))


def _checked_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError("crowdsky.base_url is no web address: https://… is wanted")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "crowdsky.base_url holds more than an address: put the login into its own keys"
        )
    return base_url.rstrip("/")


def _is_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: requests.RequestException) -> str:
    """Say in a few words what went wrong; the library's own text holds addresses in memory."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate or encryption is not accepted"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.Timeout | TimeoutError):
            return "it took too long"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "it closed the connection"
