"""What can go wrong with a telescope: the switches, and the board that they are on.

There are two kinds. An *incident* happens to one thing that the telescope is asked (a command, a download,
a probe, a rename, a stack): at given odds, for so many times, after so many were let pass. A *condition*
holds from the moment it is switched on until it is switched off.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from skyrelay_simulators.telescope.rpc_codes import Code

_FIRST_VIEW = "M 31"  # what somebody looks at, unless a target is given


class WrongFaultError(ValueError):
    """There is no such switch, or it has no such field; the text says which there are."""


class Fault(BaseModel):
    """A switch that is on; ``switch`` is its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    switch: ClassVar[str]


class Condition(Fault):
    """Something that holds until it is switched off."""


class Incident(Fault):
    """Something that happens to one of the things asked.

    Attributes
    ----------
    odds
        The chance that it happens to each of them.
    times
        How often it happens before it switches itself off; for ever when left out.
    after
        How many to let pass first.
    """

    odds: float = Field(default=1.0, ge=0.0, le=1.0)
    times: int | None = Field(default=None, ge=1)
    after: int = Field(default=0, ge=0)

    def concerns(self, subject: str) -> bool:  # noqa: ARG002 - see CommandIncident
        """Whether it can happen to this one."""
        return True


class CommandIncident(Incident):
    """Something that happens to a command; ``methods`` limits it to some (empty: any)."""

    methods: frozenset[str] = frozenset()

    def concerns(self, subject: str) -> bool:
        """Whether it can happen to this command."""
        return not self.methods or subject in self.methods


# --- incidents on the command port ---


class Drop(CommandIncident):
    """The connection drops, and the command is not carried out."""

    switch = "drop"


class DropReply(CommandIncident):
    """The command is carried out, then the connection drops in place of the reply."""

    switch = "drop_reply"


class LoseReply(CommandIncident):
    """The command is carried out, the reply never comes, and the connection stands."""

    switch = "lose_reply"


class SlowReply(CommandIncident):
    """The command is carried out ``seconds`` late."""

    switch = "slow_reply"
    seconds: float = Field(default=1.0, ge=0.0)


class Garbage(CommandIncident):
    """Rubbish comes before the reply.

    ``kind`` is ``text`` (no JSON), ``utf8`` (bytes that are none), ``unknown_id`` (a reply that nobody
    waits for), ``huge`` (such a reply of 1 MB), or ``any`` of them.
    """

    switch = "garbage"
    kind: Literal["any", "text", "utf8", "unknown_id", "huge"] = "any"


class SplitPackets(CommandIncident):
    """The reply comes in so many ``pieces``, each in a packet of its own."""

    switch = "split_packets"
    pieces: int = Field(default=4, ge=2, le=1000)


class MergePackets(CommandIncident):
    """The reply comes in one packet with an event before it, another behind, and half of a third."""

    switch = "merge_packets"


class Refuse(CommandIncident):
    """The command is answered with an error ``code`` instead of being carried out."""

    switch = "refuse"
    code: Code = Code.FAIL_TO_OPERATE


class MixListings(CommandIncident):
    """Another client's listing moves the one cursor just before a page is read.

    To ``folder`` if one is given (``MyWorks/M 82_sub``), else to the next one in MyWorks.
    """

    switch = "mix_listings"
    folder: str = ""


class Observe(CommandIncident):
    """Somebody begins to observe ``target`` just before the command is carried out."""

    switch = "observe"
    target: str = _FIRST_VIEW


class Reboot(CommandIncident):
    """The telescope reboots once the command is carried out, and is back after ``seconds``.

    Connections drop, the reply is lost, so are the stack and its setting, and the observation ends.
    """

    switch = "reboot"
    seconds: float = Field(default=2.0, ge=0.0)


# --- incidents elsewhere ---


class CutDownload(Incident):
    """A download ends after this ``share`` of the bytes, under a full Content-Length."""

    switch = "cut_download"
    share: float = Field(default=0.5, ge=0.0, lt=1.0)


class StallDownload(Incident):
    """A download falls silent after this ``share`` of the bytes; the connection stands."""

    switch = "stall_download"
    share: float = Field(default=0.5, ge=0.0, lt=1.0)


class LoseProbe(Incident):
    """A discovery probe gets no answer."""

    switch = "lose_probe"


class RefuseRename(Incident):
    """A rename over SMB is refused: access denied."""

    switch = "refuse_rename"


class LoseRename(Incident):
    """A rename over SMB is done, then the connection drops in place of the answer."""

    switch = "lose_rename"


class FailStack(Incident):
    """A stack fails with ``code`` after this ``share`` of its frames."""

    switch = "fail_stack"
    code: Code = Code.TOO_FEW_STARS
    share: float = Field(default=0.5, ge=0.0, le=1.0)


class StallStack(Incident):
    """A stack gets no further than this ``share`` of its frames, until it is stopped."""

    switch = "stall_stack"
    share: float = Field(default=0.5, ge=0.0, le=1.0)


class CancelStack(Incident):
    """Somebody stops a stack from the phone after this ``share`` of its frames."""

    switch = "cancel_stack"
    share: float = Field(default=0.5, ge=0.0, le=1.0)


class UseFewer(Incident):
    """A stack leaves out so many ``frames``, its last ones: they do not align."""

    switch = "use_fewer"
    frames: int = Field(default=1, ge=1)


# --- conditions ---


class HideFolders(Condition):
    """``get_albums`` does not mention these ``folders``; SMB and the listings show them."""

    switch = "hide_folders"
    folders: frozenset[str] = Field(min_length=1)


class IdleClose(Condition):
    """A connection that is silent for ``seconds`` is closed (15.5 without this switch)."""

    switch = "idle_close"
    seconds: float = Field(gt=0.0)


class Latency(Condition):
    """Each round trip takes so many ``seconds`` more: command, start of a download, SMB request."""

    switch = "latency"
    seconds: float = Field(gt=0.0)


class Full(Condition):
    """The eMMC has ``free_mb`` left; below 100 a stack cannot be saved."""

    switch = "full"
    free_mb: int = Field(default=0, ge=0)


class RefuseKey(Condition):
    """The telescope wants a key, and no key is the right one."""

    switch = "refuse_key"


class OtherFirmware(Condition):
    """The telescope has this firmware: a ``number`` such as 2732, 2775 or 2889."""

    switch = "firmware"
    number: int = Field(ge=2000, le=9999)


class OtherAddress(Condition):
    """The telescope has moved to ``host``, with the same ports; connections drop."""

    switch = "address"
    host: str


class SecondAddress(Condition):
    """The telescope answers at ``host`` too, as one on USB Ethernet does; connections drop."""

    switch = "second_address"
    host: str


class SwitchedOff(Condition):
    """Nothing answers: the stack is lost, and connections are met by silence, or refused if not ``silent``.

    Silence is Linux's; elsewhere connections are refused.
    """

    switch = "switched_off"
    silent: bool = True


class CloseShare(Condition):
    """The SMB port is closed."""

    switch = "close_share"


def _switches(kind: type[Fault]) -> Iterable[type[Fault]]:
    for part in kind.__subclasses__():
        if "switch" in vars(part):
            yield part
        yield from _switches(part)


SWITCHES: Mapping[str, type[Fault]] = MappingProxyType({kind.switch: kind for kind in _switches(Fault)})


def type_of_fault(switch: str) -> type[Fault]:
    """Give the kind of fault that a switch is for; raises `WrongFaultError`."""
    kind = SWITCHES.get(switch)
    if kind is None:
        raise WrongFaultError(f"there is no switch {switch!r}; there are {', '.join(sorted(SWITCHES))}")
    return kind


def read_fault(switch: str, fields: Mapping[str, Any]) -> Fault:
    """Make a fault of a switch's name and its fields; raises `WrongFaultError`."""
    kind = type_of_fault(switch)
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        known = ", ".join(kind.model_fields) or "none"
        raise WrongFaultError(f"{switch}: {place}: {first['msg']} (its fields: {known})") from error


F = TypeVar("F", bound=Fault)
I = TypeVar("I", bound=Incident)  # noqa: E741 - an incident


class FaultBoard:
    """The switches that are on at one telescope. Safe to use from several threads.

    Parameters
    ----------
    faults
        What is on from the start.
    seed
        Of the dice; the same seed and the same questions give the same incidents.
    note
        Told the switch's name of each incident as it happens, and to what.
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        seed: int | None = None,
        note: Callable[[str, str], None] = lambda _switch, _subject: None,
    ) -> None:
        self._dice = random.Random(seed)
        self._note = note
        self._lock = threading.Lock()
        self._on: dict[type[Fault], Fault] = {type(fault): fault for fault in faults}
        self._happened: Counter[str] = Counter()

    def set(self, fault: Fault) -> None:
        """Switch a fault on, in place of one of its kind."""
        with self._lock:
            self._on[type(fault)] = fault

    def unset(self, kind: type[Fault]) -> None:
        """Switch a fault off; harmless if it is off."""
        with self._lock:
            self._on.pop(kind, None)

    def clear(self) -> None:
        """Switch all off, and forget what happened."""
        with self._lock:
            self._on.clear()
            self._happened.clear()

    def seed(self, seed: int) -> None:
        """Begin the dice anew."""
        with self._lock:
            self._dice.seed(seed)

    def on(self, kind: type[F]) -> F | None:
        """Give a fault of this kind if it is on."""
        with self._lock:
            fault = self._on.get(kind)
        return fault if isinstance(fault, kind) else None

    def take(self, kind: type[I], subject: str = "") -> I | None:
        """Give the incident that happens to ``subject``, and count it; `None` if none does."""
        with self._lock:
            fault = self._on.get(kind)
            if not isinstance(fault, kind) or not fault.concerns(subject) or not self._strikes(fault):
                return None
            self._happened[fault.switch] += 1
        self._note(fault.switch, subject)
        return fault

    def choice(self, options: tuple[str, ...]) -> str:
        """Choose by the same dice."""
        with self._lock:
            return self._dice.choice(options)

    def to_json(self) -> dict[str, Any]:
        """Give what is on, and how often each incident happened, as JSON can carry it."""
        with self._lock:
            on = {fault.switch: fault.model_dump(mode="json") for fault in self._on.values()}
            return {"on": on, "happened": dict(self._happened)}

    def _strikes(self, fault: Incident) -> bool:
        if fault.after:
            self._on[type(fault)] = fault.model_copy(update={"after": fault.after - 1})
            return False
        if self._dice.random() >= fault.odds:
            return False
        if fault.times == 1:
            del self._on[type(fault)]
        elif fault.times is not None:
            self._on[type(fault)] = fault.model_copy(update={"times": fault.times - 1})
        return True
