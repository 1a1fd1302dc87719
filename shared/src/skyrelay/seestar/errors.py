"""What can go wrong with a telescope: one type, hence one decision, for each.

The codes are the firmware's (documented with seestarpy 0.2 to 0.7; 103, 107, 109 and 267 seen live).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from skyrelay.domain.states import Reach
from skyrelay.errors import AmbiguousError, PermanentError, RefusedByRule, SkyrelayError, TransientError


class Unreachable(TransientError):  # noqa: N818 - the state it names
    """The telescope cannot be spoken to now.

    Attributes
    ----------
    reach
        How far it could be reached.
    """

    reach: ClassVar[Reach] = Reach.SILENT


class HostAway(Unreachable):
    """Nothing comes back from the address: switched off, asleep, or out of the Wi-Fi."""


class HostAbsent(HostAway):
    """The network says that no device has the address: switched off, out of the Wi-Fi, or moved."""

    reach = Reach.ABSENT


class ServiceDown(Unreachable):
    """A device is there, but refuses the port: still starting, or not this telescope."""

    reach = Reach.REFUSED


class HostUnknown(Unreachable):
    """The telescope's name gives no address."""

    reach = Reach.NO_SUCH_NAME


class NetworkDown(Unreachable):
    """This machine itself has no way into that network: that says nothing about the telescope."""

    reach = Reach.NO_NETWORK


class ProgramSilent(Unreachable):
    """The telescope takes connections and says nothing: half asleep, stuck, or not this telescope."""

    reach = Reach.PROGRAM_SILENT


class NoAnswer(Unreachable):
    """The connection stands or stood, but a reply did not come in time."""

    reach = Reach.BROKE_OFF


class DeadlinePassed(TransientError):  # noqa: N818 - the state it names
    """The time for it was over before it was sent: nothing was done."""


class ReplyLost(AmbiguousError):  # noqa: N818 - the state it names
    """A changing command was sent and its reply did not come: look at the telescope's state."""


class KeyMissing(PermanentError):  # noqa: N818 - the state it names
    """The firmware wants a key and none is configured, or its file is not there."""


class KeyRefused(PermanentError):  # noqa: N818 - the state it names
    """The key cannot be used, or the telescope does not accept it."""


class NotATelescope(PermanentError):  # noqa: N818 - the state it names
    """Something answers at the address, but not as a Seestar does."""


class AnotherTelescope(NotATelescope):
    """A telescope of another serial number answers at the address.

    Attributes
    ----------
    serial
        Whose it is.
    """

    def __init__(self, serial: str) -> None:
        super().__init__(f"another telescope ({serial}) answers at its address")
        self.serial = serial


class ConnectionClosed(PermanentError):  # noqa: N818 - the state it names
    """It was closed on our side: whoever goes on using it made a mistake, or is being shut down."""


class Observing(RefusedByRule):
    """The telescope observes: control is never taken from it."""


class StackingAlready(RefusedByRule):
    """The telescope is stacking something else."""


class SettingDiffers(TransientError):  # noqa: N818 - the state it names
    """The batch stack setting read back is not the one that was set: somebody else sets it too."""


class FileMissing(PermanentError):  # noqa: N818 - the state it names
    """The file or folder is not on the telescope."""


class NameTaken(RefusedByRule):
    """A file of that name is there already; it is never replaced."""


class NameUnsafe(PermanentError):  # noqa: N818 - the state it names
    """A name is no single path component, so no path is made of it."""


class ShareMissing(PermanentError):  # noqa: N818 - the state it names
    """The telescope's SMB server offers no share of the names that we know, or refuses guests."""


class ListingFailed(TransientError):  # noqa: N818 - the state it names
    """The folder could not be listed; that says nothing about what is in it."""


class DownloadIncomplete(TransientError):  # noqa: N818 - the state it names
    """The whole file did not arrive; what did is kept and resumed."""


class FileNotWhole(TransientError):  # noqa: N818 - the state it names
    """The file on the telescope is shorter than its own header promises: cut short or still being written."""


class Code(IntEnum):
    """The firmware's error codes that we know."""

    BAD_PARAMETER = 102
    METHOD_UNKNOWN = 103
    LIST_REJECTED = 107
    DICT_REJECTED = 109
    MOVING = 203
    FAIL_TO_OPERATE = 207
    TOO_FEW_STARS = 263
    TRANSFORM_FAILED = 264
    NO_IMAGE = 267
    BELOW_HORIZON = 270
    NO_STAR = 279
    INTERRUPTED = 514


class CommandRefused(SkyrelayError):  # noqa: N818 - the state it names
    """The telescope answered with an error.

    Attributes
    ----------
    method, code
        What was asked, and the firmware's code.
    """

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method}: the telescope answers {text or 'an error'} (code {code})")
        self.method = method
        self.code = code


class RefusedForNow(CommandRefused, TransientError):  # noqa: N818 - the state it names
    """The same command may work later."""


class RefusedForGood(CommandRefused, PermanentError):  # noqa: N818 - the state it names
    """The same command would be refused again."""


class MethodUnknown(RefusedForGood):
    """The firmware has no such method: it is older or newer; fall back."""


_LASTING: Mapping[int, str] = {
    Code.BAD_PARAMETER: "bad parameter",
    Code.METHOD_UNKNOWN: "method not found",
    Code.LIST_REJECTED: "list parameters rejected",
    Code.DICT_REJECTED: "parameters rejected",
    Code.TOO_FEW_STARS: "too few stars",
    Code.TRANSFORM_FAILED: "the frames do not fit together",
    Code.NO_IMAGE: "no image",
    Code.NO_STAR: "no star",
}
_PASSING: Mapping[int, str] = {
    Code.MOVING: "it is moving",
    Code.FAIL_TO_OPERATE: "fail to operate",
    Code.BELOW_HORIZON: "below the horizon",
    Code.INTERRUPTED: "interrupted",
}


def is_lasting(code: int) -> bool:
    """Tell whether the same command on the same frames would end with this code again.

    An unknown code is taken for passing: a caller's attempts are bounded, a person's patience with
    blocks given up too early is less so.
    """
    return code in _LASTING


def in_words(code: int, text: str = "") -> str:
    """Say what a code means: the telescope's words if it has any, else ours."""
    return text or _LASTING.get(code) or _PASSING.get(code) or f"code {code}"


def refusal(method: str, code: int, text: str) -> CommandRefused:
    """Make the error for a reply with a non-zero code."""
    if code == Code.METHOD_UNKNOWN:
        return MethodUnknown(method, code, in_words(code, text))
    kind = RefusedForGood if is_lasting(code) else RefusedForNow
    return kind(method, code, in_words(code, text))
