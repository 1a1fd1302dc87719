"""Upload runs over one place or several telescopes, as the public functions and the commands start them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from skyrelay.arrivals import safe_component
from skyrelay.crowdsky.bulk_upload import BulkUpload, Entry, Outcome, UploadReport
from skyrelay.crowdsky.errors import CrowdSkyError
from skyrelay.crowdsky.progress import TransferBars
from skyrelay.crowdsky.sent_ledger import SentLedger
from skyrelay.crowdsky.service_books import ServiceBooks
from skyrelay.crowdsky.session import client_of
from skyrelay.crowdsky.stack_sources import ALL, Candidate, LocalStacks, StackSource, TelescopeStacks
from skyrelay.direct.telescopes import OwnTelescope, choose
from skyrelay.errors import SkyrelayError
from skyrelay.settings import Settings

FilePath = str | os.PathLike[str]
Reports = Mapping[str, UploadReport]
_MOST_AT_ONCE = 8  # telescopes of a home


def ledger_of(settings: Settings) -> SentLedger:
    """Give the memory of what was sent to the account that is configured."""
    return SentLedger(settings.data_dir, settings.crowdsky.base_url, settings.crowdsky.username)


def bulk_upload(
    opened: ExitStack, settings: Settings, bars: TransferBars, *, scrub_location: bool, skip_existing: bool
) -> BulkUpload:
    """Wire an upload as it is configured.

    Parameters
    ----------
    opened
        Closes the database in the end.
    settings, bars
        The configuration, and what shows the progress.
    scrub_location, skip_existing
        As for `skyrelay.crowdsky.server.upload_all_stacks`.

    Raises
    ------
    ConfigurationError
        If CrowdSky's address or the user name cannot be used.
    """
    crowdsky = settings.crowdsky
    return BulkUpload(
        client=client_of(crowdsky),
        ledger=ledger_of(settings),
        books=opened.enter_context(ServiceBooks(settings.database)),
        scrub_location=scrub_location,
        skip_existing=skip_existing,
        look_again=timedelta(seconds=crowdsky.confirm_s),
        listed_by=timedelta(hours=crowdsky.confirm_after_h),
        bar=bars.bar,
    )


def open_sources(
    opened: ExitStack,
    settings: Settings,
    *,
    target: str | Iterable[str] | None,
    local_dir: FilePath | None,
    dest: Path,
    ips: str | Iterable[str] | None,
) -> dict[str, StackSource]:
    """Name the places to look into: a folder, or telescopes.

    Parameters
    ----------
    opened
        Closes the telescopes in the end.
    target, local_dir, dest, ips
        As for `skyrelay.crowdsky.server.upload_all_stacks`. Of several telescopes each has a folder of
        its own in ``dest``.

    Raises
    ------
    ConfigurationError
        If it is not clear which telescopes are meant.
    TransientError
        If the database that may know where they are does not answer.
    """
    if local_dir is not None:
        return {str(local_dir): LocalStacks(Path(local_dir))}
    is_all = target is None or (isinstance(target, str) and target.casefold() == ALL)
    targets = None if is_all or target is None else [target] if isinstance(target, str) else list(target)
    telescopes = _telescopes(opened, settings, ips)
    return {
        name: TelescopeStacks(
            telescope.seestar, targets, dest if len(telescopes) == 1 else dest / safe_component(name)
        )
        for name, telescope in telescopes.items()
    }


def run_uploads(
    upload: BulkUpload,
    sources: Mapping[str, StackSource],
    *,
    dry_run: bool,
    confirm: Callable[[Reports], bool] = lambda _: True,
) -> Reports:
    """Plan, and unless it is a dry run send; give what became of the stacks, by place.

    Parameters
    ----------
    confirm
        Asked with the plan before anything is sent; if it says no the plan is what comes back.

    Raises
    ------
    CrowdSkyError
        If the server's list cannot be had: then nothing was sent.
    UploadRunning
        If another process is uploading.
    SkyrelayError, OSError
        If the only place cannot be looked into.
    """
    if dry_run:
        return _each(sources, lambda name: _plan(upload, sources, name))
    with upload.ledger.alone():
        plans = _each(sources, lambda name: _plan(upload, sources, name))
        if not confirm(plans):
            return plans
        return _each(sources, lambda name: upload.carry_out(sources[name], plans[name]))


def _plan(upload: BulkUpload, sources: Mapping[str, StackSource], name: str) -> UploadReport:
    """Plan for one place; of several, one that cannot be looked into does not stop the others."""
    try:
        return upload.plan(sources[name])
    except SkyrelayError as error:
        if len(sources) == 1 or isinstance(error, CrowdSkyError):
            raise
        return UploadReport(0, [Entry(Candidate(name, name), Outcome.FAILED, str(error))])


def _each(sources: Mapping[str, StackSource], work: Callable[[str], UploadReport]) -> Reports:
    if len(sources) == 1:
        return {name: work(name) for name in sources}
    with ThreadPoolExecutor(min(len(sources), _MOST_AT_ONCE) or 1) as pool:
        return dict(zip(sources, pool.map(work, sources), strict=True))


def _telescopes(
    opened: ExitStack, settings: Settings, ips: str | Iterable[str] | None
) -> dict[str, OwnTelescope]:
    """Give telescopes by serial number; one alone is not asked for it where the configuration has none."""
    telescopes = [opened.enter_context(OwnTelescope(settings, one)) for one in choose(settings, ips)]
    if len(telescopes) == 1:
        return {one.configured.serial or one.name: one for one in telescopes}
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        return dict(zip(pool.map(lambda one: one.known_as, telescopes), telescopes, strict=True))
