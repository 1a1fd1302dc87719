"""The endpoints of CrowdSky's web API."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import PurePosixPath

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from skyrelay_simulators.crowdsky.header import NotFits, UploadHeader, read_upload_header, scrub_site
from skyrelay_simulators.crowdsky.stacking import stack_raw_frames
from skyrelay_simulators.crowdsky.storage import RawFile, Storage, StoredStack, database_stamp
from skyrelay_simulators.web.journal import Draft, ReceivedFile
from skyrelay_simulators.web.kept_files import KeptFile
from skyrelay_simulators.web.observed import draft_of

_FITS_SUFFIXES = frozenset({".fit", ".fits"})
_NOT_IN_A_HEADER = re.compile(r'[^\x20-\x7e]|["\\]')


class Refused(Exception):  # noqa: N818 - an answer of the server, not a fault of ours
    """The server says no: a status and its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the server behaves.

    Attributes
    ----------
    users
        Passwords by user name.
    processing_delay_s
        Seconds from an upload to its appearance in the list.
    server_scrubs
        Whether ``scrub_location`` is obeyed on the server's side.
    quota_bytes
        What an account may hold; `None`: anything.
    """

    users: Mapping[str, str]
    processing_delay_s: float = 0.0
    server_scrubs: bool = True
    quota_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class UploadForm:
    """The form of a request, its files put down in the journal as they are kept."""

    data: FormData
    draft: Draft
    storage: Storage

    def text(self, name: str) -> str | None:
        """Give a field; `None` if it is missing or empty."""
        value = self.data.get(name)
        return value if isinstance(value, str) and value else None

    def flag(self, name: str) -> bool:
        """Tell whether a field says 1."""
        return self.text(name) == "1"

    def count(self, name: str) -> int | None:
        """Give a number of frames."""
        given = self.text(name)
        if given is not None and not re.fullmatch(r"[0-9]{1,9}", given, re.ASCII):
            raise Refused(400, f"Invalid {name}.")
        return None if given is None else int(given)

    def instant(self, name: str) -> datetime | None:
        """Give an ISO 8601 time as aware UTC; one without a zone is UTC."""
        given = self.text(name)
        try:
            moment = datetime.fromisoformat(given) if given else None
        except ValueError as error:
            raise Refused(400, f"Invalid {name}.") from error
        return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment

    def file_name(self, field: str) -> str:
        """Give the bare name of a file that was sent."""
        return PurePosixPath(self._file(field).filename or "").name

    def has_file(self, field: str) -> bool:
        """Tell whether a file was sent in a field."""
        return isinstance(self.data.get(field), UploadFile)

    @contextmanager
    def kept(self, field: str, suffix: str) -> Iterator[KeptFile]:
        """Keep a file that was sent; it is thrown away if it is refused after all."""
        file = self._file(field)
        kept = self.storage.keep_file(file.file, suffix)
        self.draft.files.append(ReceivedFile(field, file.filename or "", kept.size, kept.sha256))
        try:
            yield kept
        except (Refused, NotFits):
            kept.path.unlink(missing_ok=True)
            raise

    def _file(self, field: str) -> UploadFile:
        file = self.data.get(field)
        if not isinstance(file, UploadFile):
            raise Refused(400, f"No {field} uploaded.")
        return file


class Endpoints:
    """What ``/api/*.php`` does."""

    def __init__(self, storage: Storage, rules: Rules) -> None:
        self._storage = storage
        self._rules = rules

    def add_to(self, app: FastAPI) -> None:
        """Put the endpoints into an application."""
        app.add_api_route("/api/my_stacks.php", self.my_stacks, methods=["GET"])
        app.add_api_route("/api/upload_stack.php", self.upload_stack, methods=["POST"])
        app.add_api_route("/api/download_stack.php", self.download_stack, methods=["GET"])
        app.add_api_route("/api/raw_upload.php", self.raw_upload, methods=["POST"])

    async def my_stacks(self, request: Request) -> Response:
        """List the user's stacks that have been processed."""
        user, wanted = self._login(request), request.query_params.get("object") or None
        stacks = await run_in_threadpool(self._storage.stacks, user)
        listed = [stack for stack in stacks if stack.is_listed and wanted in {None, stack.object_name}]
        return JSONResponse([stack.to_row() for stack in listed])

    async def upload_stack(self, request: Request) -> Response:
        """Take in a stack and queue it for post-processing."""
        user = self._login(request)
        async with request.form() as data:
            form = self._form(request, data)
            stack = await run_in_threadpool(self._take_stack, user, form)
        return JSONResponse(
            {"ok": True, "job_id": stack.id, "chunk_key": stack.chunk_key, "status": "queued"}
        )

    async def download_stack(self, request: Request) -> Response:
        """Give a stack by its chunk key: the newest one, if several share it."""
        user, key = self._login(request), request.query_params.get("chunk_key")
        if not key:
            raise Refused(400, "Missing chunk_key.")
        stacks = await run_in_threadpool(self._storage.stacks, user)
        found = [stack for stack in stacks if stack.chunk_key == key and stack.is_listed]
        if not found:
            raise Refused(404, "Stack not found.")
        name = _NOT_IN_A_HEADER.sub("_", found[-1].file_name)
        return FileResponse(
            self._storage.path_of(found[-1].stored_as),
            media_type="application/fits",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    async def raw_upload(self, request: Request) -> Response:
        """Begin a session of raw frames, take one of them in, or end it and stack them."""
        user = self._login(request)
        async with request.form() as data:
            form = self._form(request, data)
            action = request.query_params.get("action") or form.text("action")
            if action == "start":
                return JSONResponse(
                    {"session_token": await run_in_threadpool(self._storage.open_session, user)}
                )
            if action == "file":
                return JSONResponse(await run_in_threadpool(self._take_raw_file, user, form))
            if action == "finalize":
                return JSONResponse(await run_in_threadpool(self._finalize, user, form))
        raise Refused(400, "Unknown action.")

    def _login(self, request: Request) -> str:
        user, password = _credentials(request.headers.get("authorization", ""))
        known = self._rules.users.get(user, "")
        if not known or not hmac.compare_digest(known.encode(), password.encode()):
            raise Refused(401, "Invalid username or password.")
        draft_of(request).user = user
        return user

    def _form(self, request: Request, data: FormData) -> UploadForm:
        form = UploadForm(data, draft_of(request), self._storage)
        form.draft.fields.update({name: value for name, value in data.items() if isinstance(value, str)})
        return form

    def _take_stack(self, user: str, form: UploadForm) -> StoredStack:
        name = _fits_name(form)
        with form.kept("file", ".fit") as kept:
            stack = self._new_stack(user, name, kept, _usable_header(kept))
            stack = replace(
                stack,
                n_frames_input=form.count("n_frames_input"),
                n_frames_aligned=form.count("n_frames_aligned"),
                date_obs_start=database_stamp(form.instant("date_obs_start")) or stack.date_obs_start,
                date_obs_end=database_stamp(form.instant("date_obs_end")),
            )
            self._check_quota(user, kept.size)
        if form.flag("scrub_location") and self._rules.server_scrubs:
            scrub_site(kept.path)
        if form.has_file("thumbnail"):
            with form.kept("thumbnail", ".image") as thumbnail:
                stack = replace(stack, thumbnail_as=thumbnail.path.name)
        return replace(stack, id=self._storage.add_stack(stack))

    def _new_stack(self, user: str, name: str, kept: KeptFile, header: UploadHeader) -> StoredStack:
        return StoredStack(
            user=user,
            chunk_key=header.chunk_key or "",
            object_name=header.object_name,
            telescope_id=header.telescop,
            filter_name=header.filter_name,
            date_obs_start=database_stamp(header.date_obs),
            date_obs_end=None,
            n_frames_input=None,
            n_frames_aligned=None,
            total_exptime=header.total_exptime_s,
            ra_deg=header.ra_deg,
            dec_deg=header.dec_deg,
            file_size_bytes=kept.size,
            created_at=database_stamp(datetime.now(UTC)) or "",
            file_name=name,
            sha256=kept.sha256,
            stored_as=kept.path.name,
            listed_at_s=time.time() + self._rules.processing_delay_s,
        )

    def _check_quota(self, user: str, more: int) -> None:
        quota = self._rules.quota_bytes
        held = sum(stack.file_size_bytes for stack in self._storage.stacks(user))
        if quota is not None and held + more > quota:
            raise Refused(400, f"Storage quota exceeded: {held} of {quota} bytes used.")

    def _take_raw_file(self, user: str, form: UploadForm) -> dict[str, object]:
        token = self._session(user, form)
        name = _fits_name(form)
        with form.kept("file", ".fit") as kept:
            header = _usable_header(kept)
        key = header.chunk_key or ""
        self._storage.add_raw_file(token, RawFile(name, kept.path.name, key, header.telescop))
        date_obs = header.date_obs.replace(tzinfo=None).isoformat() if header.date_obs else None
        return {"ok": True, "filename": name, "chunk_key": key, "date_obs": date_obs}

    def _session(self, user: str, form: UploadForm) -> str:
        token = form.text("session_token")
        if token is None:
            raise Refused(400, "Missing session_token.")
        if not self._storage.has_session(token, user):
            raise Refused(404, "Upload session not found or expired.")
        return token

    def _finalize(self, user: str, form: UploadForm) -> dict[str, object]:
        """Stack a session's frames by chunk key and telescope; skip the keys that have a stack already."""
        frames = sorted(self._storage.close_session(self._session(user, form)), key=_group)
        existing = [stack for stack in self._storage.stacks(user) if stack.is_listed]
        jobs: list[StoredStack] = []
        skipped: list[str] = []
        for (key, _), group in groupby(frames, key=_group):
            older = [stack for stack in existing if stack.chunk_key == key]
            if older and not form.flag("overwrite"):
                skipped.append(key)
                continue
            jobs.append(self._stack_raw(user, list(group), scrub=form.flag("scrub_location")))
            for stack in older:
                self._storage.remove_stack(stack)
        return {
            "ok": True,
            "jobs": len(jobs),
            "job_ids": [stack.id for stack in jobs],
            "chunks": [stack.chunk_key for stack in jobs],
            "skipped": skipped,
        }

    def _stack_raw(self, user: str, frames: list[RawFile], *, scrub: bool) -> StoredStack:
        paths = [self._storage.path_of(frame.stored_as) for frame in frames]
        headers = [read_upload_header(path) for path in paths]
        kept = self._storage.keep_file(stack_raw_frames(paths))
        if scrub and self._rules.server_scrubs:
            scrub_site(kept.path)
        times = [header.date_obs for header in headers if header.date_obs is not None]
        stack = replace(
            self._new_stack(user, f"{frames[0].chunk_key}.fits", kept, read_upload_header(kept.path)),
            chunk_key=frames[0].chunk_key,
            date_obs_start=database_stamp(min(times, default=None)),
            date_obs_end=database_stamp(max(times, default=None)),
            n_frames_input=len(frames),
            n_frames_aligned=len(frames),
        )
        return replace(stack, id=self._storage.add_stack(stack))


def _group(frame: RawFile) -> tuple[str, str]:
    return frame.chunk_key, frame.telescope_id or ""


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, token = authorization.partition(" ")
    try:
        decoded = base64.b64decode(token, validate=True).decode() if scheme.casefold() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    user, _, password = decoded.partition(":")
    return user, password


def _fits_name(form: UploadForm) -> str:
    name = form.file_name("file")
    if PurePosixPath(name).suffix.casefold() not in _FITS_SUFFIXES:
        raise Refused(400, "Only .fit and .fits files are accepted.")
    return name


def _usable_header(kept: KeptFile) -> UploadHeader:
    try:
        header = read_upload_header(kept.path)
        if header.chunk_key is None:
            raise Refused(400, "No DATE-OBS in the FITS header.")
    except ValueError as error:
        raise Refused(400, str(error)) from error
    return header
