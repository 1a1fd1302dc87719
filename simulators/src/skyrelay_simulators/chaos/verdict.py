"""What was lost, what came twice, and how long the longest recovery took: by the simulators' own books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from skyrelay.domain.stack_name import CrowdSkyName, parse_stack_name
from skyrelay_simulators.chaos.scene import ExpectedBlock, Scene
from skyrelay_simulators.chaos.simulators import Simulators


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end state, block by block.

    Attributes
    ----------
    lost, twice
        In words, each with where: on the telescope, or on the server.
    odd
        Stacks that nobody expects: not whole, or without their name.
    misconduct
        Rules that were broken towards a telescope.
    longest_silence_s
        The longest time in which a telescope that still had blocks to stack heard nothing.
    """

    blocks: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    odd: tuple[str, ...]
    misconduct: tuple[str, ...]
    longest_silence_s: float

    @property
    def is_good(self) -> bool:
        """Whether each block was stacked, named and delivered exactly once, and whole."""
        return not (self.lost or self.twice or self.odd or self.misconduct)


def judge(scene: Scene, simulators: Simulators) -> Verdict:
    """Compare the telescopes' folders and journals and the server's list with what has to be there."""
    expected = scene.expected()
    on_telescopes, on_server = list(_names_in_folders(scene)), simulators.kept()
    journals = {serial: simulators.journal(serial) for serial in scene.serials}
    counts = {"telescope": _count(on_telescopes), "server": _count(on_server)}
    return Verdict(
        blocks=len(expected),
        lost=tuple(_said(expected, counts, lambda number: number == 0)),
        twice=(
            *_said(expected, counts, lambda number: number > 1),
            *(line for journal in journals.values() for line in _stacked_twice(journal)),
        ),
        odd=tuple(_odd(expected, on_telescopes + on_server)),
        misconduct=tuple(line for serial in scene.serials for line in simulators.conduct(serial)),
        longest_silence_s=max(map(_longest_silence, journals.values())),
    )


def is_settled(scene: Scene, simulators: Simulators) -> bool:
    """Tell whether every block is named on its telescope and kept by the server."""
    expected = set(scene.expected())
    return expected <= set(_count(_names_in_folders(scene))) and expected <= set(_count(simulators.kept()))


def _names_in_folders(scene: Scene) -> Iterator[str]:
    for serial in scene.serials:
        works = scene.root(serial) / "MyWorks"
        for file in sorted(works.glob("*/*.fit")):
            if not file.parent.name.endswith("_sub"):
                yield file.name


def _count(names: Iterable[str]) -> Counter[ExpectedBlock]:
    return Counter(block for name in names if (block := _block_of(name)) is not None)


def _block_of(name: str) -> ExpectedBlock | None:
    parsed = parse_stack_name(name)
    return ExpectedBlock(parsed.target, str(parsed.key.chunk)) if isinstance(parsed, CrowdSkyName) else None


def _said(
    expected: Iterable[ExpectedBlock],
    counts: Mapping[str, Counter[ExpectedBlock]],
    is_wrong: Callable[[int], bool],
) -> Iterator[str]:
    for where, found in counts.items():
        for block in sorted(expected):
            if is_wrong(found[block]):
                yield f"{block.target} {block.chunk}: {found[block]} on the {where}"


def _odd(expected: Mapping[ExpectedBlock, int], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        block, parsed = _block_of(name), parse_stack_name(name)
        if block is None or not isinstance(parsed, CrowdSkyName):
            yield f"{name}: has not got its name"
        elif expected.get(block) != parsed.frames:
            yield f"{name}: {expected.get(block, 0)} frames were expected"


def _stacked_twice(journal: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    made = Counter(tuple(sorted(entry["params"]["names"])) for entry in _complete(journal))
    for names, number in made.items():
        if number > 1:
            yield f"the block from {names[0]}: stacked {number} times by the telescope"


def _complete(journal: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in journal if entry["channel"] == "stack" and entry["method"] == "complete")


def _longest_silence(journal: list[dict[str, Any]]) -> float:
    """Give the longest time between two commands from the night's end to the last stack's end, in seconds."""
    ends = [entry["monotonic_s"] for entry in _complete(journal)]
    idle = [e["monotonic_s"] for e in journal if e["channel"] == "telescope" and e["method"] == "idle"]
    begin, end = min(idle, default=0.0), max(ends, default=0.0)
    heard = [e["monotonic_s"] for e in journal if e["channel"] == "rpc" and begin <= e["monotonic_s"] <= end]
    moments = sorted([begin, *heard, end])
    return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)
