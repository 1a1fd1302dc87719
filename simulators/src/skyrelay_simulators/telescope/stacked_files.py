"""What batch stacking leaves behind, and what it cannot use; apart from the stacking, which is heavy."""

from __future__ import annotations

from dataclasses import dataclass


class UnfitFrameError(Exception):
    """A frame cannot be added to this stack."""


@dataclass(frozen=True, slots=True)
class StackedFiles:
    """What a batch stack left behind; names are bare, ``folder`` is from the eMMC's root."""

    folder: str
    fits: str
    thumb: str
