"""The commands for CrowdSky's server: ``upload``, ``download`` and ``raw-upload``.

They talk to the server themselves, no service need run. Where the configuration does not say otherwise, the
site's coordinates stay at home.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from skyrelay.cli.crowdsky_tables import (
    download_table,
    left_out_table,
    raw_json,
    raw_table,
    upload_json,
    upload_tables,
)
from skyrelay.crowdsky.bulk_upload import Outcome
from skyrelay.crowdsky.progress import CountBar, TransferBars
from skyrelay.crowdsky.raw_frames import LeftOut, find_raw_frames, group_raw_frames
from skyrelay.crowdsky.raw_upload import RawEntry, RawUpload
from skyrelay.crowdsky.service_books import ServiceBooks
from skyrelay.crowdsky.session import client_of
from skyrelay.crowdsky.stack_sources import ALL
from skyrelay.crowdsky.upload_runs import Reports, bulk_upload, ledger_of, open_sources, run_uploads
from skyrelay.domain.states import DeliveryState
from skyrelay.errors import ConfigurationError, SkyrelayError
from skyrelay.logs import configure_logs
from skyrelay.settings import Settings, load_settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import may_be_there

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before sending.")]
DestOption = Annotated[
    Path, typer.Option("--dest", file_okay=False, help="Where files are kept that come from elsewhere.")
]


app = typer.Typer(add_completion=False)


class Until(StrEnum):
    """How far an upload is waited for."""

    ACCEPTED = DeliveryState.ACCEPTED.value
    CONFIRMED = DeliveryState.CONFIRMED.value


@dataclass(frozen=True, slots=True)
class Download:
    """What became of one chunk key: the file, or why there is none."""

    chunk_key: str
    path: Path | None
    reason: str = ""


@app.command()
def upload(
    local_dir: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Look here, and below, instead of on telescopes."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Only this target's folder; may be repeated.")
    ] = None,
    telescope: Annotated[
        list[str] | None,
        typer.Option(help="Only this one, by name, serial or address; may be repeated. Unset: all."),
    ] = None,
    dest: DestOption = Path(),
    resend: Annotated[bool, typer.Option("--resend", help="Send again what the server has.")] = False,
    until: Annotated[
        Until, typer.Option(help="Wait until the server has taken (accepted) or lists (confirmed) them.")
    ] = Until.ACCEPTED,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload all CrowdSky stacks, each once; exit code 0 only when the server has taken all of them.

    Those of a folder go through the outbox of the services, where their database is there.
    """
    settings = _settings(config)
    if local_dir is not None and not resend and may_be_there(settings.database):
        reports = _upload_by_outbox(
            settings,
            local_dir,
            until,
            dry_run=dry_run,
            may_go=lambda plans: yes or as_json or _confirm_upload(plans),
        )
        _end_upload(reports, dry_run=dry_run, as_json=as_json)
    if until is not Until.ACCEPTED:
        raise ConfigurationError("--until confirmed is for --local-dir, with the services' database")
    with ExitStack() as opened:
        bars = opened.enter_context(TransferBars())
        reports = run_uploads(
            bulk_upload(
                opened,
                settings,
                bars,
                scrub_location=settings.crowdsky.scrubs_location,
                skip_existing=not resend,
            ),
            open_sources(
                opened, settings, target=target, local_dir=local_dir, dest=dest, ips=telescope or ALL
            ),
            dry_run=dry_run,
            confirm=lambda plans: yes or as_json or _confirm_upload(plans),
        )
    _end_upload(reports, dry_run=dry_run, as_json=as_json)


@app.command()
def download(
    chunk_keys: Annotated[list[str], typer.Argument(metavar="CHUNK_KEY...")],
    dest: DestOption = Path(),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download stacks by chunk key; exit code 0 only when all of them are here."""
    client = client_of(_settings(config).crowdsky)
    downloads = []
    with TransferBars() as bars:
        for key in chunk_keys:
            try:
                downloads.append(Download(key, client.download_stack(key, dest, bars.bar(key))))
            except SkyrelayError as error:
                downloads.append(Download(key, None, str(error)))
    rows = [(each.chunk_key, each.path, each.reason) for each in downloads]
    if as_json:
        keys = ("chunk_key", "path", "reason")
        answer = [dict(zip(keys, (key, path and str(path), why), strict=True)) for key, path, why in rows]
        typer.echo(json.dumps(answer, indent=2))
    else:
        _show(download_table(rows))
    raise typer.Exit(0 if all(each.path for each in downloads) else 1)


@app.command(name="raw-upload")
def raw_upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True)],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the stacks that the server has of the same chunks.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send raw frames for CrowdSky to stack, a session for each chunk, filter and exposure.

    Exit code 0 only when the server has taken all of them.
    """
    settings = _settings(config)
    frames, unreadable = find_raw_frames(paths)
    groups, doubles = group_raw_frames(frames)
    left_out = [*unreadable, *doubles]
    with TransferBars() as bars, ServiceBooks(settings.database) as books:
        sender = _raw_sender(settings, bars, books, overwrite=overwrite)
        if dry_run:
            entries = sender.plan(groups)
        else:
            with sender.ledger.alone():
                entries = sender.plan(groups)
                if yes or as_json or _confirm_raw(entries):
                    entries = sender.carry_out(entries)
    if as_json:
        typer.echo(json.dumps(raw_json(entries, left_out), indent=2))
    else:
        _show(raw_table(entries, dry_run=dry_run), *left_out_table([*left_out, *_refused(entries)]))
    done = all(entry.done and (dry_run or entry.outcome is not Outcome.TO_SEND) for entry in entries)
    raise typer.Exit(0 if entries and done and all(each.is_copy for each in left_out) else 1)


def _settings(config: Path | None) -> Settings:
    return settings_in_force(load_settings(config), of=["crowdsky"])


def _upload_by_outbox(
    settings: Settings, folder: Path, until: Until, *, dry_run: bool, may_go: Callable[[Reports], bool]
) -> Reports:
    from skyrelay.crowdsky.outbox_upload import OutboxUpload, open_outbox  # the other commands need no broker

    configure_logs("upload", level="WARNING")
    with ExitStack() as opened:
        store = opened.enter_context(closing(open_outbox(settings)))
        bars = opened.enter_context(TransferBars())
        copied, sent = (opened.enter_context(CountBar(what)) for what in ("into the archive", "sent"))
        scrub = settings.crowdsky.scrubs_location
        judge = bulk_upload(opened, settings, bars, scrub_location=scrub, skip_existing=True)
        upload = OutboxUpload(settings, store, judge, DeliveryState(until), copied.show, sent.show)
        place = str(folder)
        report, reason = upload.run(folder, dry_run=dry_run, confirm=lambda plan: may_go({place: plan}))
    if reason:
        typer.echo(
            f"{reason}. What waits is in the outbox: the services, or this command again, send it.", err=True
        )
    return {place: report}


def _end_upload(reports: Reports, *, dry_run: bool, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps(upload_json(reports), indent=2))
    else:
        _show(*upload_tables(reports, dry_run=dry_run))
    raise typer.Exit(0 if _is_done(reports, dry_run=dry_run) else 1)


def _raw_sender(settings: Settings, bars: TransferBars, books: ServiceBooks, *, overwrite: bool) -> RawUpload:
    crowdsky = settings.crowdsky
    return RawUpload(
        client=client_of(crowdsky),
        ledger=ledger_of(settings),
        books=books,
        scrub_location=crowdsky.scrubs_location,
        overwrite=overwrite,
        look_again=timedelta(seconds=crowdsky.confirm_s),
        listed_by=timedelta(hours=crowdsky.confirm_after_h),
        bar=bars.bar,
    )


def _is_done(reports: Reports, *, dry_run: bool) -> bool:
    waiting = any(report.of(Outcome.TO_SEND) for report in reports.values())
    return all(report.complete for report in reports.values()) and (dry_run or not waiting)


def _confirm_upload(plans: Reports) -> bool:
    entries = [entry for plan in plans.values() for entry in plan.of(Outcome.TO_SEND)]
    return _confirm(f"{len(entries)} stacks", sum(entry.size_bytes for entry in entries), len(entries))


def _confirm_raw(entries: list[RawEntry]) -> bool:
    groups = [entry for entry in entries if entry.outcome is Outcome.TO_SEND]
    frames = sum(len(entry.group.frames) for entry in groups)
    deleted = "".join(f"\n{entry.group.title}: {entry.reason}" for entry in groups if entry.reason)
    words = f"{frames} frames in {len(groups)} sessions"
    return _confirm(words, sum(entry.group.size_bytes for entry in groups), frames, deleted)


def _confirm(what: str, size_bytes: int, count: int, warning: str = "") -> bool:
    """Ask a person on a terminal before much is sent: accounts have a quota."""
    if count == 0 or not sys.stdin.isatty() or not sys.stderr.isatty():
        return True
    return typer.confirm(f"{what}, {size_bytes / 1e6:.1f} MB, will be sent.{warning}\nGo on?", err=True)


def _refused(entries: list[RawEntry]) -> list[LeftOut]:
    return [frame for entry in entries for frame in entry.left_out]


def _show(*tables: object) -> None:
    console = Console()
    for table in tables:
        console.print(table)
