"""A stack on its way from the server: resumed, measured, and whole before it gets its name.

Neither a status nor the end of a body proves that a file is there: its length must be what the server
said, and its FITS structure complete. The name that the server gives is a wish, never a path.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from email.message import Message
from itertools import chain
from pathlib import Path, PurePosixPath

import requests
from urllib3.exceptions import HTTPError

from skyrelay.arrivals import arriving_in, put_under_name, safe_component, sha256_of
from skyrelay.crowdsky.answers import Answer, Reader
from skyrelay.crowdsky.body import Progress
from skyrelay.crowdsky.errors import DownloadIncomplete, NotAStack, ServerBroken, Unreachable
from skyrelay.errors import TransientError
from skyrelay.fits_header import FitsError, promised_size
from skyrelay.seestar.part_file import PartFile

MAX_STACK_BYTES = 4 * 1024**3  # a mosaic of a telescope has 0.1 GB
_TRIES_WITHOUT_PROGRESS = 3
_PIECE_BYTES = 65_536
_ERROR_BYTES = 65_536  # of an answer that is no file; its words are in the beginning
_MAGIC = b"SIMPLE  ="
_FITS_SUFFIXES = frozenset({".fit", ".fits"})
_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,15})-\d{1,15}/(?P<total>\d{1,15})", re.ASCII)
_LENGTH = re.compile(r"\d{1,15}", re.ASCII)
_WHOLE, _RANGE, _PAST_THE_END = 200, 206, 416

Ask = Callable[[Mapping[str, str]], AbstractContextManager[requests.Response]]


class StackDownload:
    """One stack's way into a folder.

    Parameters
    ----------
    ask
        Asks the server for the file, with these headers.
    reader
        Reads an answer that is no file.
    chunk_key
        Of the stack; names what has arrived, so that a later call finds it.
    folder
        Where it goes; made if it is not there.
    on_progress
        Called with each piece.
    """

    def __init__(
        self, ask: Ask, reader: Reader, chunk_key: str, folder: Path, on_progress: Progress | None
    ) -> None:
        self._ask = ask
        self._reader = reader
        self._chunk_key = chunk_key
        self._folder = folder
        self._on_progress = on_progress

    def run(self) -> Path:
        """Fetch it; give where it lies. Raises as `CrowdSkyClient.download_stack` does."""
        with arriving_in(self._folder / f".{safe_component(self._chunk_key)}.part") as place:
            part = PartFile(place / "stack.fit")
            try:
                name = self._fetch(part)
                self._check_structure(part)
            except BaseException:
                if part.size == 0:
                    shutil.rmtree(place, ignore_errors=True)  # nothing of it is worth keeping
                raise
            part.finish()
            with self._disk():
                return _keep(place / "stack.fit", self._folder, name)

    def _fetch(self, part: PartFile) -> str:
        """Ask for what is missing until nothing is; give the file's name."""
        tries_left = _TRIES_WITHOUT_PROGRESS
        while tries_left:
            before = part.size
            try:
                name = self._fetch_more(part)
            except Unreachable:
                if part.size == 0:
                    raise
                name = None
            if name is not None:
                return name
            tries_left = _TRIES_WITHOUT_PROGRESS if part.size > before else tries_left - 1
        raise DownloadIncomplete(f"{self._reader.asked}: it broke off after {part.size} bytes; call again")

    def _fetch_more(self, part: PartFile) -> str | None:
        """Take in what one request brings; give the file's name if it is complete now."""
        headers = {"Accept-Encoding": "identity"}  # lengths are those of the file
        if part.size:
            headers |= {"Range": f"bytes={part.size}-"} | ({"If-Range": part.tag} if part.tag else {})
        with self._ask(headers) as response:
            if not self._goes_on(response, part):
                return None
            total = self._total(response, part)
            try:
                self._take_in(response, part, total)
            except HTTPError:
                return None
            is_complete = total in {None, part.size} and part.size > 0
            return stack_name(response.headers, f"{self._chunk_key}.fits") if is_complete else None

    def _goes_on(self, response: requests.Response, part: PartFile) -> bool:
        """Tell whether what comes can be added to what has arrived, after forgetting that if need be."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        fits = response.status_code == _RANGE and match is not None and int(match["first"]) == part.size
        if fits and part.tag == _validator(response):  # a server may not know If-Range
            return True
        if response.status_code not in {_WHOLE, _RANGE, _PAST_THE_END}:
            self._fail(response, b"")
        part.restart()
        return response.status_code == _WHOLE

    def _total(self, response: requests.Response, part: PartFile) -> int | None:
        """Give the file's size if the server says it."""
        ranged = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        length = response.headers.get("Content-Length", "")
        total = int(length) if _LENGTH.fullmatch(length) else None
        if part.size and ranged:
            total = int(ranged["total"])
        if total is not None and total > MAX_STACK_BYTES:
            raise ServerBroken(f"{self._reader.asked}: the answer is said to have {total} bytes")
        part.remember(_validator(response))
        return total

    def _take_in(self, response: requests.Response, part: PartFile, total: int | None) -> None:
        pieces = self._pieces(response)
        if part.size == 0:
            beginning = _beginning(pieces)
            if not beginning.startswith(_MAGIC) and (beginning or total == 0):
                self._fail(response, beginning)
            pieces = chain([beginning], pieces)
        limit = MAX_STACK_BYTES if total is None else total
        for piece in pieces:
            part.append([piece], limit)
            if self._on_progress is not None:
                self._on_progress(part.size, total)
            if part.size >= limit:
                return

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """Give bytes as they come: waiting for whole pieces would lose the last one of a broken body."""
        while piece := response.raw.read1(_PIECE_BYTES):
            yield piece

    def _fail(self, response: requests.Response, beginning: bytes) -> None:
        """Raise what an answer means that is no file."""
        body = bytearray(beginning)
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > _ERROR_BYTES:
                break
        self._reader.document(Answer(response.status_code, response.headers, bytes(body)))
        raise ServerBroken(f"{self._reader.asked}: no file came, but other data")

    def _check_structure(self, part: PartFile) -> None:
        """Compare the file's size with what its header promises; what fails is not resumed."""
        size = part.size
        try:
            promised = promised_size(part.header())
        except FitsError as error:
            part.restart()
            raise NotAStack(f"{self._reader.asked}: {error}") from error
        if size < promised:
            part.restart()
            raise NotAStack(f"{self._reader.asked}: it has {size} bytes, its header promises {promised}")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransientError(f"{self._folder} cannot be written: {error.strerror}") from error


def stack_name(headers: Mapping[str, str], otherwise: str) -> str:
    """Make a file name of the one that the server gives: one component of a path, ending as FITS files do.

    Parameters
    ----------
    headers
        Of the answer; its Content-Disposition may name the file in any form that there is.
    otherwise
        Its name when the server gives none.
    """
    wish = re.split(r"[/\\]", _disposition_name(headers.get("Content-Disposition", "")))[-1]
    wish = "".join(
        " " if unicodedata.category(each) == "Zs" else each for each in wish
    )  # spaces of all kinds
    name = safe_component(wish.strip() or otherwise)
    return name if PurePosixPath(name).suffix.casefold() in _FITS_SUFFIXES else f"{name}.fits"


def _disposition_name(disposition: str) -> str:
    """Read the file name, plain, quoted or encoded (RFC 6266, 8187); empty if there is none."""
    with suppress(UnicodeError):
        disposition = disposition.encode("latin-1").decode("utf-8")  # many servers write it so
    message = Message()
    message["Content-Disposition"] = disposition
    try:
        return message.get_filename("") or ""
    except (ValueError, LookupError):
        return ""


def _validator(response: requests.Response) -> str:
    """Give what If-Range may carry: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """Read enough to tell a FITS file from a page of words."""
    data = b""
    while len(data) < len(_MAGIC) and (piece := next(pieces, b"")):
        data += piece
    return data


def _keep(arrived: Path, folder: Path, name: str) -> Path:
    """Give a whole file its name; only a broken beginning of the very same file is replaced by it."""
    final = folder / name
    if final.is_file() and _is_beginning_of(final, arrived):
        return arrived.replace(final)
    return put_under_name(arrived, folder, name, sha256_of(arrived))


def _is_beginning_of(shorter: Path, longer: Path) -> bool:
    size = shorter.stat().st_size
    if size >= longer.stat().st_size:
        return False
    with longer.open("rb") as file:
        digest = hashlib.sha256()
        while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest() == sha256_of(shorter)
