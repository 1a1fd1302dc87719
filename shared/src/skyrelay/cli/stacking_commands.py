"""The commands that drive telescopes themselves: ``targets``, ``blocks``, ``stack`` and ``purge``.

No service need run; while the services drive a telescope they are told so, and wait.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from skyrelay.direct.planning import BlockPlan, list_target_folders, plan_blocks, targets_with_frames
from skyrelay.direct.purging import files_to_purge, purge
from skyrelay.direct.reporting import preview_table
from skyrelay.direct.stacking import Limits, stack_everything, stack_target
from skyrelay.direct.summaries import AllSummary, PurgeSummary, ResultDict, TargetDict, TargetSummary
from skyrelay.direct.telescopes import ALL, OwnTelescope, SomeTelescopesFailed, on_each
from skyrelay.domain.block import too_short
from skyrelay.errors import ConfigurationError
from skyrelay.logs import configure_logs
from skyrelay.settings import Settings, load_settings
from skyrelay.store.accounts import settings_in_force

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]
TelescopeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--telescope", help="Only this one, by name, serial number or address; may be repeated. Unset: all."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Value = TypeVar("Value")
_COMPLETE = "complete"
app = typer.Typer(add_completion=False)


@app.command()
def targets(
    telescope: TelescopeOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the targets on the telescopes, with their light frames and stacks."""
    found = _on_each(settings_in_force(load_settings(config), of=()), telescope, list_target_folders)
    _answer(found, as_json=as_json, draw=_target_tables)
    raise typer.Exit(1 if found.some_failed else 0)


@app.command()
def blocks(
    target: Annotated[str, typer.Argument(help="As the telescope names its folder, e.g. 'M 81'.")],
    telescope: TelescopeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the blocks of a target that have no stack yet, short ones included."""
    settings = settings_in_force(load_settings(config), of=())
    stacking = settings.stacking
    plan = partial(
        plan_blocks, target=target, block_minutes=stacking.block_minutes, block_time=stacking.block_time
    )
    found = _on_each(settings, telescope, plan)
    if as_json:
        _print_json({name: [_plan_json(one, settings) for one in plans] for name, plans in found.items()})
    else:
        for name, plans in found.items():
            title = f"{target} on {name}: {len(plans)} blocks without a stack"
            Console().print(preview_table(title, plans))
    raise typer.Exit(1 if found.some_failed else 0)


@app.command()
def stack(
    target: Annotated[str | None, typer.Argument(help="As the telescope names its folder.")] = None,
    all_targets: Annotated[bool, typer.Option("--all", help="Every target that has light frames.")] = False,
    telescope: TelescopeOption = None,
    min_exptime: Annotated[
        float | None, typer.Option(help="Least total exposure of a block, in seconds; unset: as configured.")
    ] = None,
    max_wait_sec: Annotated[
        float | None, typer.Option(help="Seconds that one block may take; unset: as configured.")
    ] = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the telescopes stack what is not stacked; exit code 0 only when every block was."""
    if all_targets == (target is not None):
        raise ConfigurationError("stack: name one target, or say --all")
    settings = settings_in_force(load_settings(config), of=())
    stacking = settings.stacking
    limits = Limits(
        block_minutes=stacking.block_minutes,
        min_exptime_s=stacking.min_exptime if min_exptime is None else min_exptime,
        max_wait_s=stacking.max_wait_sec if max_wait_sec is None else max_wait_sec,
        block_time=stacking.block_time,
    )

    def work(one: OwnTelescope) -> AllSummary:
        # A target that was named has its say: with one, an error ends the command with its words.
        if target is not None:
            return _as_all(stack_target(one, target, limits, dry_run=dry_run, quiet=as_json))
        return stack_everything(one, targets_with_frames(one), limits, dry_run=dry_run, quiet=as_json)

    found = _on_each(settings, telescope, work)
    _answer(found, as_json=as_json, draw=_no_tables if dry_run else _stack_tables)
    all_well = all(_went_well(summary) for summary in found.values())
    raise typer.Exit(0 if all_well and not found.some_failed else 1)


@app.command(name="purge")
def purge_stacks(
    target: Annotated[str | None, typer.Argument(help="As the telescope names its folder.")] = None,
    all_targets: Annotated[bool, typer.Option("--all", help="Every target.")] = False,
    telescope: TelescopeOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the CrowdSky stacks on the telescopes for good; light frames are never touched."""
    if all_targets == (target is not None):
        raise ConfigurationError("purge: name one target, or say --all")
    settings = settings_in_force(load_settings(config), of=())
    folders = None if target is None else [target]
    doomed = _on_each(settings, telescope, partial(files_to_purge, folders=folders))
    count = sum(len(names) for found in doomed.values() for names in found.values())
    if dry_run or not count:
        _answer(doomed, as_json=as_json, draw=_doomed_tables)
        raise typer.Exit(1 if doomed.some_failed else 0)
    if not yes:
        for table in _doomed_tables(doomed):
            Console(stderr=True).print(table)
        typer.confirm(f"Delete these {count} files for good?", abort=True, err=True)
    gone = _on_each(settings, telescope, lambda one: purge(one, folders, only=doomed.get(one.name, {})))
    _answer(gone, as_json=as_json, draw=_purge_tables)
    some_left = any("failed" in summary for summary in gone.values())
    raise typer.Exit(1 if some_left or doomed.some_failed or gone.some_failed else 0)


class _Found(dict[str, Value]):
    """What came of each telescope, by its name.

    Attributes
    ----------
    some_failed
        Whether others of several failed; that was said already.
    """

    some_failed = False


def _on_each(
    settings: Settings, telescope: list[str] | None, work: Callable[[OwnTelescope], Value]
) -> _Found[Value]:
    """Do something with each telescope that is meant; of several, those that fail are named and left out."""
    configure_logs("skyrelay", level="WARNING")
    found = _Found[Value]()

    def note(one: OwnTelescope) -> None:
        found[one.name] = work(one)

    try:
        on_each(settings, telescope or ALL, note)
    except SomeTelescopesFailed as failure:
        found.some_failed = True
        for name, error in failure.errors.items():
            typer.echo(f"skyrelay: {name}: {error}", err=True)
    return found


def _answer(
    found: Mapping[str, Value], *, as_json: bool, draw: Callable[[Mapping[str, Value]], Iterator[Table]]
) -> None:
    if as_json:
        _print_json(found)
        return
    for table in draw(found):
        Console().print(table)


def _print_json(found: object) -> None:
    typer.echo(json.dumps(found, indent=2, default=_json_value, ensure_ascii=False))


def _json_value(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be written as JSON")


def _plan_json(plan: BlockPlan, settings: Settings) -> dict[str, object]:
    why_not = too_short([plan.exposure_s] * len(plan.files), settings.stacking.min_exptime)
    return {**plan.as_dict(), "total_exptime": plan.total_s, "why_not": why_not}


def _as_all(summary: TargetSummary) -> AllSummary:
    counts = (summary["blocks_stacked"], summary["blocks_failed"], summary["blocks_skipped"])
    return {
        "targets_processed": 1,
        "targets_with_work": int(any(counts)),
        "total_blocks_stacked": counts[0],
        "total_blocks_failed": counts[1],
        "total_blocks_skipped": counts[2],
        "per_target": [summary],
    }


def _went_well(summary: AllSummary) -> bool:
    return not summary["total_blocks_failed"] and not any("error" in one for one in summary["per_target"])


def _target_tables(found: Mapping[str, list[TargetDict]]) -> Iterator[Table]:
    for name, listed in found.items():
        table = _table(f"Targets on {name}", "Target", "Light frames", "Stacks")
        for one in listed:
            table.add_row(escape(one["target"]), str(one["raw_files"]), str(one["stacked_files"]))
        yield table


def _stack_tables(found: Mapping[str, AllSummary]) -> Iterator[Table]:
    for name, summary in found.items():
        title = (
            f"{name}: {summary['total_blocks_stacked']} blocks stacked, "
            f"{summary['total_blocks_failed']} failed, {summary['total_blocks_skipped']} too short"
        )
        table = _table(title, "Target", "Block", "What became of it")
        for one in summary["per_target"]:
            if "error" in one:
                table.add_row(escape(one["target"]), "", escape(one["error"]))
            for result in one["results"]:
                start = f"{result['block_start']:%Y-%m-%d %H:%M}"
                table.add_row(escape(one["target"]), start, escape(_in_words(result)))  # type: ignore[arg-type]
        yield table


def _in_words(result: ResultDict) -> str:
    if result["status"] != _COMPLETE:
        return f"{result['status']}: {result.get('error') or 'no reason given'}"
    name = result.get("output_file") or "stacked; it keeps the telescope's own name until it can be renamed"
    return f"{result.get('frames')} frames: {name}"


def _no_tables(_found: Mapping[str, AllSummary]) -> Iterator[Table]:
    """Draw nothing: a dry run has shown its tables already."""
    return iter(())


def _doomed_tables(doomed: Mapping[str, dict[str, list[str]]]) -> Iterator[Table]:
    for name, folders in doomed.items():
        table = _table(f"CrowdSky files on {name}", "Folder", "File")
        for folder, names in folders.items():
            for file_name in names:
                table.add_row(escape(folder), escape(file_name))
        yield table


def _purge_tables(found: Mapping[str, PurgeSummary]) -> Iterator[Table]:
    for name, summary in found.items():
        title = f"{name}: {summary['files_deleted']} files deleted from {summary['folders_scanned']} folders"
        table = _table(title, "Left", "Why")
        for path, problem in summary.get("failed", {}).items():
            table.add_row(escape(path), escape(problem))
        yield table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=escape(title), title_justify="left", min_width=len(title))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
