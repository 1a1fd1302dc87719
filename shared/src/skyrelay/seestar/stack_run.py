"""A batch stack on the telescope: what it is told to stack, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from skyrelay.seestar.errors import in_words, is_lasting
from skyrelay.seestar.fields import Fields, JsonValue
from skyrelay.seestar.paths import bare_name, batch_stack_name, checked_name, folder_of_works_path, works_path


class StackState(StrEnum):
    """The firmware's states of a batch stack; ``none`` when it knows of no run."""

    WORKING = "working"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    NONE = "none"


ENDED = frozenset({StackState.COMPLETE, StackState.FAIL, StackState.CANCEL})


@dataclass(frozen=True, slots=True)
class StackRun:
    """The present or last batch stack; the firmware keeps the last until it is cleared.

    Attributes
    ----------
    percent, stacked, total, remaining_s
        Progress, in frames and seconds; `None` where it does not say.
    code, error
        The firmware's code (0 is good), and what it means in words.
    output_path, output_folder
        ``MyWorks/M 81`` as the telescope says it, and the folder in it (`None` if it is no such path).
    output_files
        Bare names of the FITS files that came out.
    """

    state: StackState = StackState.NONE
    percent: float | None = None
    stacked: int | None = None
    total: int | None = None
    remaining_s: float | None = None
    code: int = 0
    error: str = ""
    output_path: str = ""
    output_folder: str | None = None
    output_files: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it came to an end, good or bad."""
        return self.state in ENDED

    @property
    def is_lasting_failure(self) -> bool:
        """Whether stacking the same frames again would fail again."""
        return self.state is StackState.FAIL and is_lasting(self.code)

    @classmethod
    def parse(cls, fields: Fields) -> StackRun:
        """Read a ``BatchStack`` object or event; one without a state that we know is no run."""
        text = fields.text("state") or ""
        if text not in set(StackState):
            return cls()
        code, output = fields.integer("code") or 0, fields.inner("output_file")
        path = output.text("path") or ""
        return cls(
            state=StackState(text),
            percent=fields.number("percent"),
            stacked=fields.integer("stacked_img"),
            total=fields.integer("total_img"),
            remaining_s=fields.number("remaining_sec"),
            code=code,
            error=in_words(code, fields.text("error") or "") if code else "",
            output_path=path,
            output_folder=folder_of_works_path(path),
            output_files=_bare_names(file.text("name") for file in output.each("files")),
        )


@dataclass(frozen=True, slots=True)
class StackSetting:
    """What the telescope is told to stack: bare file names in one folder.

    Attributes
    ----------
    folder
        E.g. ``M 81_sub``; `None` when the telescope's words name none.
    """

    folder: str | None
    file_names: frozenset[str]

    @classmethod
    def of(cls, folder: str, file_names: Iterable[str]) -> StackSetting:
        """Check the names; raises `skyrelay.seestar.errors.NameUnsafe`, or `ValueError` if there are none."""
        names = frozenset(checked_name(name) for name in file_names)
        if not names:
            raise ValueError("a stack needs at least one frame")
        return cls(checked_name(folder), names)

    @classmethod
    def parse(cls, result: JsonValue) -> StackSetting | None:
        """Read ``get_batch_stack_setting``; `None` when it holds no setting."""
        fields = Fields.of(result)
        path = fields.text("path")
        names = _bare_names(file.text("name") for file in fields.each("files"))
        return cls(folder_of_works_path(path or ""), frozenset(names)) if path or names else None

    def params(self, firmware: int | None) -> JsonValue:
        """Write it for ``set_batch_stack_setting`` of that firmware, the frames by name."""
        folder = checked_name(self.folder or "")
        names: list[JsonValue] = [
            {"name": batch_stack_name(folder, name, firmware)} for name in sorted(self.file_names)
        ]
        return {"path": works_path(folder), "files": names}


def _bare_names(names: Iterable[str | None]) -> tuple[str, ...]:
    found = (bare_name(name) for name in names if name)
    return tuple(name for name in found if name)
