"""The receipt of a night as text for a terminal, drawn with Rich."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from skyrelay.domain.states import BlockState
from skyrelay.store.receipts import NamedFrames, Receipt, ReceiptBlock, ReceiptGroup, Stage, duration_text

_STYLES = {
    Stage.COLLECTING: "blue",
    Stage.READY: "cyan",
    Stage.STACKING: "magenta",
    Stage.STACKED: "bright_blue",
    Stage.UPLOADING: "yellow",
    Stage.DELIVERED: "green",
    Stage.SKIPPED: "dim",
    Stage.COVERED: "green dim",
    Stage.RAW: "bright_blue",
    Stage.FAILED: "bold red",
}
_NAMES_SHOWN = 5  # of frames that share a fate; the page and the JSON name all of them


def render_receipt(receipt: Receipt) -> RenderableType:
    """Draw a receipt: one table a telescope and target, then the night's totals with what is named."""
    head = Text.assemble(
        ("Receipt of the night of ", "bold"),
        (f"{receipt.night:%A %-d %B %Y}", "bold cyan"),
        "" if receipt.complete else ("  so far: something of it still waits", "yellow"),
    )
    return Group(head, *(_table(group) for group in receipt.groups), _totals(receipt))


def receipt_lines(receipt: Receipt, width: int = 120) -> list[str]:
    """Give the drawn receipt as plain lines of at most ``width`` characters."""
    console = Console(width=width, no_color=True, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(render_receipt(receipt))
    return [line.rstrip() for line in captured.get().splitlines()]


def _table(group: ReceiptGroup) -> Table:
    parts = (group.telescope, group.target, group.exposure, group.filter)
    table = Table(
        box=SIMPLE_HEAD,
        title=escape(" · ".join(part for part in parts if part)),
        caption=f"{_plural(group.frames, 'frame')}, {group.exposure_total_s:g} s in all",
        title_justify="left",
        caption_justify="left",
    )
    for name, justify in (("Local time", "left"), ("Frames", "right"), ("Exposure", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type] # both are JustifyMethods
    table.add_column("State", no_wrap=True)
    table.add_column("Stack, or why there is none", overflow="fold")
    for block in group.blocks:
        table.add_row(
            f"{block.start_local:%H:%M}–{block.end_local:%H:%M} {block.utc_offset}",
            str(block.frames),
            f"{block.exposure_total_s:g} s",
            Text(block.stage.value, _STYLES[block.stage]),
            "\n".join(_words_on(block)),
        )
    return table


def _words_on(block: ReceiptBlock) -> Iterator[str]:
    if block.chunk_key:
        yield escape(block.chunk_key)
    if block.stack_name:
        yield escape(block.stack_name)
    if block.state != BlockState.STACKED and block.reason:
        yield escape(block.reason)
    for delivery in block.deliveries:
        why = f": {delivery.reason}" if delivery.reason else ""
        yield escape(f"{delivery.destination}: {delivery.state}{why}")


def _totals(receipt: Receipt) -> Table:
    totals = receipt.totals
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    grid.add_row("Seen", f"{_plural(totals.frames, 'frame')}, {duration_text(totals.exposure_total_s)}")
    grid.add_row("Stacked", f"{_plural(totals.blocks_stacked, 'block')} of {totals.blocks}, "
                            f"{_plural(totals.frames_in_stacks, 'frame')}")  # fmt: skip
    if totals.blocks_raw:
        frames = f"{_plural(totals.frames_sent_raw, 'frame')} for the server to stack"
        grid.add_row("Sent raw", f"{_plural(totals.blocks_raw, 'block')} of {totals.blocks}, {frames}")
    grid.add_row(
        "Delivered", f"{totals.delivered} of {totals.deliveries}, {totals.confirmed} confirmed by the server"
    )
    if totals.blocks_covered:
        grid.add_row("Covered", f"{_plural(totals.blocks_covered, 'block')} had a stack already")
    grid.add_row("Skipped", "\n".join(_blocks_words(receipt, BlockState.SKIPPED)) or "none")
    if totals.blocks_failed:
        grid.add_row("Failed", "\n".join(_blocks_words(receipt, BlockState.FAILED)), style="red")
    if not receipt.complete:
        grid.add_row("Waiting", f"{_plural(totals.blocks_waiting, 'block')}, {_owed(totals.deliveries_owed)}")
    grid.add_row("Held", "\n".join(_named(receipt.held)) or "none")
    grid.add_row(
        "Missing", "\n".join(_named(receipt.missing)) or "0: every frame that was seen is accounted for"
    )
    return grid


def _blocks_words(receipt: Receipt, state: BlockState) -> Iterator[str]:
    for group, block in receipt.blocks_in(state):
        where = f"{group.telescope}, {group.target}, {block.start_local:%H:%M}"
        yield escape(f"{where}: {block.reason or _plural(block.frames, 'frame')}")


def _named(some: Iterable[NamedFrames]) -> Iterator[str]:
    for frames in some:
        number = len(frames.file_names)
        yield escape(
            f"{frames.telescope}, {frames.target}: {_plural(number, 'frame')} {frames.fate}: {frames.reason}"
        )
        yield from (escape(f"  {name}") for name in frames.file_names[:_NAMES_SHOWN])
        if number > _NAMES_SHOWN:
            yield f"  and {number - _NAMES_SHOWN} more"


def _owed(deliveries: int) -> str:
    return f"{deliveries} deliver{'y' if deliveries == 1 else 'ies'} owed"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
