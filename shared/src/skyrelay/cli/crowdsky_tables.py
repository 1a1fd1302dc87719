"""What the commands for CrowdSky's server show: tables for people, plain values for machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from skyrelay.crowdsky.answers import printable
from skyrelay.crowdsky.bulk_upload import Outcome
from skyrelay.crowdsky.raw_frames import LeftOut
from skyrelay.crowdsky.raw_upload import RawEntry
from skyrelay.crowdsky.upload_runs import Reports

_COLOURS = {Outcome.UPLOADED: "green", Outcome.FAILED: "red", Outcome.UNSURE: "yellow"}
_WOULD = {Outcome.TO_SEND: "would be sent"}
_LEFT = {Outcome.TO_SEND: "not sent"}


def upload_tables(reports: Reports, *, dry_run: bool) -> Iterator[Table]:
    """Draw what became of the stacks of each place, or would become."""
    for place, report in reports.items():
        table = _table(place, "Stack", "Folder", "MB", "Outcome", "Why")
        for entry in report.entries:
            size = f"{entry.size_bytes / 1e6:.1f}" if entry.size_bytes else ""
            cells = (entry.candidate.name, entry.candidate.folder, size)
            table.add_row(*_cells(*cells), _word(entry.outcome, dry_run=dry_run), *_cells(entry.reason))
        table.caption = f"{len(report.entries)} stacks in {report.folders_scanned} folders"
        yield table


def raw_table(entries: Sequence[RawEntry], *, dry_run: bool) -> Table:
    """Draw what became of the groups of raw frames, or would become."""
    table = _table("Raw frames", "Session", "Chunk key", "Frames", "MB", "Outcome", "Why")
    for entry in entries:
        group = entry.group
        count, size = str(len(group.frames)), f"{group.size_bytes / 1e6:.1f}"
        skipped = (
            f"skipped by the server: {', '.join(entry.skipped)}" if entry.chunks and entry.skipped else ""
        )
        why = "; ".join(filter(None, (entry.reason, skipped)))
        cells = _cells(group.title, "\n".join(sorted(group.chunk_keys)), count, size)
        table.add_row(*cells, _word(entry.outcome, dry_run=dry_run), *_cells(why))
    return table


def left_out_table(left_out: Sequence[LeftOut]) -> Iterator[Table]:
    """Draw the files that are not sent; nothing if there are none."""
    if left_out:
        table = _table("Left out", "File", "Why")
        for each in left_out:
            table.add_row(*_cells(str(each.path), each.reason))
        yield table


def download_table(rows: Iterable[tuple[str, Path | None, str]]) -> Table:
    """Draw where each stack lies, or why it is not here."""
    table = _table("Downloads", "Chunk key", "File", "Why not")
    for key, path, reason in rows:
        table.add_row(*_cells(key, str(path) if path else "", reason))
    return table


def upload_json(reports: Reports) -> dict[str, Any]:
    """Give the same as an upload's tables."""
    return {
        "complete": all(report.complete and not report.of(Outcome.TO_SEND) for report in reports.values()),
        "places": {
            place: {
                "folders_scanned": report.folders_scanned,
                "stacks": [
                    {
                        "name": entry.candidate.name,
                        "folder": entry.candidate.folder,
                        "size_bytes": entry.size_bytes,
                        "outcome": entry.outcome.value,
                        "reason": entry.reason,
                        "chunk_key": entry.chunk_key,
                    }
                    for entry in report.entries
                ],
            }
            for place, report in reports.items()
        },
    }


def raw_json(entries: Sequence[RawEntry], left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Give the same as the tables of raw frames."""
    return {
        "sessions": [
            {
                "title": entry.group.title,
                "chunk_keys": sorted(entry.group.chunk_keys),
                "frames": [str(frame.path) for frame in entry.group.frames],
                "size_bytes": entry.group.size_bytes,
                "outcome": entry.outcome.value,
                "reason": entry.reason,
                "chunks": list(entry.chunks),
                "skipped": list(entry.skipped),
                "left_out": _left_out_json(entry.left_out),
            }
            for entry in entries
        ],
        "left_out": _left_out_json(left_out),
    }


def _left_out_json(left_out: Sequence[LeftOut]) -> list[dict[str, str]]:
    return [{"path": str(each.path), "reason": each.reason} for each in left_out]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=escape(printable(title)), title_justify="left", caption_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _cells(*texts: str) -> list[str]:
    """Make texts from outside fit for a terminal."""
    return [escape("\n".join(printable(line) for line in text.split("\n"))) for text in texts]


def _word(outcome: Outcome, *, dry_run: bool) -> str:
    word = (_WOULD if dry_run else _LEFT).get(outcome, outcome.value)
    colour = _COLOURS.get(outcome)
    return f"[{colour}]{word}[/]" if colour else word
