"""CrowdSky's web API as functions, for scripts: list, upload and download stacks, send raw frames.

The login comes from `set_credentials`, else from ``CROWDSKY_USERNAME`` and ``CROWDSKY_PASSWORD``, else from
the configuration, else from what ``skyrelay secrets`` keeps; the address from `set_base_url`, else from the
configuration. Every error of the server is a `RuntimeError` with a type that says what to do
(`skyrelay.crowdsky.errors`), and no error, log line or ``repr`` holds the password.

With ``scrub_location`` the cards that tell where the telescope stands (SITELONG, SITELAT and others) are
blanked before a byte leaves, and the server is asked to leave them out too. These functions do so when they
are told to, or when the configuration says ``crowdsky.scrub_location: true``; the services do unless they
are told not to.

Source: the documentation of ``seestarpy.crowdsky.server``; the return shapes are its own.

Examples
--------
>>> from skyrelay.crowdsky import server
>>> server.set_credentials("alice", "s3cret")
>>> stacks = server.list_stacks("M 81")
>>> receipt = server.upload_stack("CrowdSky_38_M 81_20.0s_LP_20260227.91_HP004242.fit")
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skyrelay.crowdsky.bulk_upload import NOT_DONE, Outcome
from skyrelay.crowdsky.progress import TransferBars
from skyrelay.crowdsky.sent_ledger import Watched
from skyrelay.crowdsky.session import client_of, current_session
from skyrelay.crowdsky.stack_facts import stack_facts
from skyrelay.crowdsky.stacks import RawFrameUpload, StackUpload, instant
from skyrelay.crowdsky.upload_runs import (
    FilePath,
    Reports,
    bulk_upload,
    ledger_of,
    open_sources,
    run_uploads,
)
from skyrelay.fits_header import FitsError, read_header
from skyrelay.service import utc_now
from skyrelay.settings import CrowdSkySettings, Settings

__all__ = [
    "download_stack",
    "list_stacks",
    "raw_finalize",
    "raw_start_session",
    "raw_upload_file",
    "set_base_url",
    "set_credentials",
    "upload_all_stacks",
    "upload_stack",
]


def set_credentials(username: str, password: str) -> None:
    """Set the login for the session: the process, or the block of `skyrelay.crowdsky.session.new_session`.

    Parameters
    ----------
    username, password
        The web login's.
    """
    current_session().set_credentials(username, password)


def set_base_url(url: str) -> None:
    """Use another server for the session, for tests or staging.

    Parameters
    ----------
    url
        Such as ``https://staging.crowdsky.example.com``.

    Raises
    ------
    skyrelay.errors.ConfigurationError
        If it is no web address.
    """
    current_session().set_base_url(url)


def list_stacks(object_name: str | None = None) -> list[dict[str, Any]]:
    """List the user's stacks that the server has processed.

    Parameters
    ----------
    object_name
        Only those of this object.

    Returns
    -------
    list of dict
        The rows as the server sends them: ``id``, ``chunk_key``, ``object_name``, ``telescope_id``,
        ``filter_name``, ``date_obs_start`` and ``date_obs_end`` (UTC), ``n_frames_input``,
        ``n_frames_aligned``, ``total_exptime`` (s), ``ra_deg``, ``dec_deg``, ``file_size_bytes``,
        ``created_at``; more may come, and any may be `None`.

    Raises
    ------
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`: there is no list to be had. It does not mean that there are no stacks.
    """
    return current_session().client().list_rows(object_name)


def upload_stack(
    fits_path: FilePath,
    thumbnail: FilePath | None = None,
    n_frames_input: int | None = None,
    n_frames_aligned: int | None = None,
    date_obs_start: str | datetime | None = None,
    date_obs_end: str | datetime | None = None,
    scrub_location: int | None = None,
) -> dict[str, Any]:
    """Upload a stack, whatever the server has; `upload_all_stacks` skips it from then on.

    Parameters
    ----------
    fits_path
        The ``.fit`` or ``.fits`` file.
    thumbnail
        A JPEG or PNG to go with it.
    n_frames_input, n_frames_aligned
        Frames given to the stack, and frames used.
    date_obs_start, date_obs_end
        DATE-OBS of the first and the last frame, ISO 8601; without a zone it is UTC.
    scrub_location
        1: leave the site's coordinates out, here and there. 0: send them. `None`: as configured.

    Returns
    -------
    dict
        The server's answer: ``ok``, ``job_id``, ``chunk_key``, ``status`` (``"queued"``). It is in the
        list once the server has processed it.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`. After an `AnswerLost` the server may have it: look at `list_stacks` before
        sending it again.
    skyrelay.fits_header.FitsError
        If the coordinates shall be left out of a file whose header cannot be read. Nothing was sent.
    skyrelay.errors.TransientError
        If ``data_dir`` cannot hold the memory of what was sent, before anything is sent.
    ValueError
        If a time is no ISO 8601 time.
    """
    session = current_session()
    settings, path = session.settings(), _existing(fits_path)
    upload = StackUpload(
        path,
        path.name,
        thumbnail=None if thumbnail is None else _existing(thumbnail),
        n_frames_input=n_frames_input,
        n_frames_aligned=n_frames_aligned,
        date_obs_start=_instant("date_obs_start", date_obs_start),
        date_obs_end=_instant("date_obs_end", date_obs_end),
        scrub_location=_scrubs(scrub_location, settings.crowdsky),
    )
    client = client_of(settings.crowdsky)
    with TransferBars() as bars:
        progress = Watched(bars.bar(path.name))
        with _remembered(settings, path, progress):
            return client.send_stack(upload, progress)


def download_stack(chunk_keys: str | Iterable[str], dest: FilePath = ".") -> list[Path]:
    """Download stacks by chunk key.

    A file takes its name only when it is whole. What breaks off is resumed, at once and by a later call;
    the server's name for it is made a safe one; a file that is there already is replaced only where it is
    a broken beginning of the new one, else the new one gets a number behind its name.

    Parameters
    ----------
    chunk_keys
        One key or several.
    dest
        The folder; made if it is not there.

    Returns
    -------
    list of Path
        Where they lie, in the order of the keys.

    Raises
    ------
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`, for the first key that could not be had; what came before it is kept.
    skyrelay.errors.TransientError
        If the folder cannot be written.
    """
    client = current_session().client()
    keys = [chunk_keys] if isinstance(chunk_keys, str) else list(chunk_keys)
    with TransferBars() as bars:
        return [client.download_stack(key, Path(dest), bars.bar(key)) for key in keys]


def raw_start_session() -> str:
    """Begin a session of raw frames.

    Returns
    -------
    str
        Its token, for `raw_upload_file` and `raw_finalize`.

    Raises
    ------
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`: there is no login, or the server refuses.
    """
    return current_session().client().open_raw_session()


def raw_upload_file(
    session_token: str, fits_path: FilePath, *, scrub_location: bool | None = None
) -> dict[str, Any]:
    """Upload one raw frame into a session.

    Parameters
    ----------
    session_token
        From `raw_start_session`.
    fits_path
        The ``.fit`` or ``.fits`` file; the server wants its DATE-OBS.
    scrub_location
        Leave the site's coordinates out of what is sent. `None`: as configured.

    Returns
    -------
    dict
        The server's answer: ``ok``, ``filename``, ``chunk_key``, ``date_obs``.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`: the server refuses this file, or could not be reached.
    skyrelay.fits_header.FitsError
        If the coordinates shall be left out of a file whose header cannot be read.
    """
    session = current_session()
    path = _existing(fits_path)
    scrubs = _scrubs(scrub_location, session.settings().crowdsky)
    frame = RawFrameUpload(session_token, path, scrub_location=scrubs)
    with TransferBars() as bars:
        return session.client().send_raw_frame(frame, bars.bar(path.name))


def raw_finalize(
    session_token: str,
    scrub_location: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """End a session of raw frames: the server stacks them by chunk key and telescope.

    Parameters
    ----------
    session_token
        From `raw_start_session`.
    scrub_location
        Have the server leave the site's coordinates out of the stack and its database. It is asked to as
        well when the configuration says so.
    overwrite
        Delete the stacks that the server has under the same chunk keys first, those of other filters and
        telescopes too. Without it such chunk keys are skipped.

    Returns
    -------
    dict
        The server's answer: ``ok``, ``jobs`` (how many), ``job_ids``, ``chunks`` (keys that were queued),
        ``skipped`` (keys that have a stack already).

    Raises
    ------
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`. After an `AnswerLost` the frames may be being stacked.
    """
    session = current_session()
    scrubs = scrub_location or session.settings().crowdsky.scrub_location is True
    return session.client().finalize_raw_session(session_token, scrub_location=scrubs, overwrite=overwrite)


def upload_all_stacks(
    target: str | Iterable[str] | None = None,
    local_dir: FilePath | None = None,
    dest: FilePath = ".",
    skip_existing: bool = True,
    dry_run: bool = False,
    *,
    ips: str | Iterable[str] | None = None,
    scrub_location: int | None = None,
) -> dict[str, Any]:
    """Upload all CrowdSky stacks of a telescope or of a folder, each once.

    A stack is skipped when the server lists one of the same telescope, filter, start and end; a file alone
    does not tell its end, so that its total exposure stands in for it. Equal chunk keys prove nothing. It
    is skipped as well when the server says too little about one of its stacks to tell, or took it less
    than ``crowdsky.confirm_after_h`` ago and does not list it yet (what was sent is remembered in
    ``data_dir``), or when the services have it in their outbox. When an answer is lost, the list is looked
    at, and once more after ``crowdsky.confirm_s``, before it is called failed; it is not sent twice.

    Parameters
    ----------
    target
        Names of targets' folders on the telescope; `None` or ``"all"`` takes all. Not for ``local_dir``.
    local_dir
        Look into this folder, and all in it, instead of a telescope.
    dest
        Where files from the telescope are kept, in a folder for each target. Not for ``local_dir``.
    skip_existing
        `False` sends everything again.
    dry_run
        Say what would be uploaded, and send nothing.
    ips
        Telescopes by name, serial or address, or ``"all"``; `None` takes the only one that is configured.
    scrub_location
        As for `upload_stack`.

    Returns
    -------
    dict
        ``folders_scanned``, ``files_uploaded``, ``files_skipped``, ``files_failed`` (counts), and
        ``uploaded``, ``skipped``, ``failed`` (file names). The reasons are written on stderr. For several
        telescopes a dict of these, by serial.

    Raises
    ------
    skyrelay.crowdsky.errors.CrowdSkyError
        A `RuntimeError`: the server's list cannot be had. Nothing was sent.
    skyrelay.crowdsky.sent_ledger.UploadRunning
        If another process is uploading from the same ``data_dir``.
    skyrelay.errors.SkyrelayError
        If the telescope's folders cannot be listed.
    FileNotFoundError
        If there is no ``local_dir``.
    """
    settings = current_session().settings()
    scrubs = _scrubs(scrub_location, settings.crowdsky)
    with ExitStack() as opened:
        bars = opened.enter_context(TransferBars())
        sources = open_sources(opened, settings, target=target, local_dir=local_dir, dest=Path(dest), ips=ips)
        upload = bulk_upload(opened, settings, bars, scrub_location=scrubs, skip_existing=skip_existing)
        reports = run_uploads(upload, sources, dry_run=dry_run)
    _tell(reports)
    summaries: dict[str, Any] = {name: report.summary() for name, report in reports.items()}
    return next(iter(summaries.values())) if len(summaries) == 1 else summaries


def _remembered(settings: Settings, path: Path, progress: Watched) -> AbstractContextManager[None]:
    """Write down what becomes of a stack that is sent in the ``with``; without a header it is no stack."""
    try:
        with path.open("rb") as file:
            facts = stack_facts(path.name, read_header(file.read), os.fstat(file.fileno()).st_size)
    except (OSError, FitsError):  # the client says what is wrong with it, where that matters
        return nullcontext()
    return ledger_of(settings).sending(facts.fingerprint, utc_now, progress)


def _scrubs(asked: int | None, crowdsky: CrowdSkySettings) -> bool:
    return bool(asked) if asked is not None else crowdsky.scrub_location is True


def _existing(path: FilePath) -> Path:
    if not Path(path).exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    return Path(path)


def _instant(name: str, given: str | datetime | None) -> datetime | None:
    if given is None:
        return None
    if isinstance(given, datetime):
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given
    moment = instant(given)
    if moment is None:
        raise ValueError(f"{name}: {given!r} is no ISO 8601 time")
    return moment


def _tell(reports: Reports) -> None:
    """Write what a dry run would send, and what was not done and why."""
    for report in reports.values():
        for entry in report.of(Outcome.TO_SEND):
            sys.stdout.write(f"would upload {entry.candidate.name}\n")
        for entry in report.of(*NOT_DONE):
            sys.stderr.write(f"not uploaded: {entry.candidate.name}: {entry.reason}\n")
