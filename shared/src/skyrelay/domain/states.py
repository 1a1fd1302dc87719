"""The state machines, written down: which states there are and which steps are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class FrameState(StrEnum):
    """What is known of a recorded sub-frame."""

    OK = "ok"
    UNREADABLE = "unreadable"  # the file is not whole or not FITS; read again
    CLOCK_WRONG = "clock wrong"  # held: its times cannot be trusted
    NOT_ON_TELESCOPE = "not on telescope"  # we have seen it, the telescope cannot stack it


class BlockState(StrEnum):
    """Where a block is on its way to a stack."""

    COLLECTING = "collecting"
    READY = "ready"
    STACKING = "stacking"
    STACKED = "stacked"
    SKIPPED = "skipped"  # too short; back to collecting when late frames come
    COVERED = "covered"  # a stack of it was there already
    FAILED = "failed"  # waits for its next try, or for a person
    RAW = "raw"  # its raw frames go, or went, to the server's own stacker instead


BLOCK_STEPS: Mapping[BlockState, frozenset[BlockState]] = {
    # raw, from here: its telescope is away for good, or a person asks
    BlockState.COLLECTING: frozenset(
        {BlockState.READY, BlockState.SKIPPED, BlockState.COVERED, BlockState.RAW}
    ),
    BlockState.READY: frozenset(
        {BlockState.COLLECTING, BlockState.STACKING, BlockState.SKIPPED, BlockState.COVERED, BlockState.RAW}
    ),
    # covered: a script took the run over while nobody of the services looked
    BlockState.STACKING: frozenset(
        {BlockState.STACKED, BlockState.READY, BlockState.FAILED, BlockState.COVERED}
    ),
    BlockState.STACKED: frozenset({BlockState.COLLECTING}),  # only if a person wants late frames in a stack
    # covered: a stack of it was handed in from a folder
    BlockState.SKIPPED: frozenset({BlockState.COLLECTING, BlockState.COVERED, BlockState.RAW}),
    BlockState.COVERED: frozenset({BlockState.COLLECTING}),  # only if a person wants another stack of it
    BlockState.RAW: frozenset({BlockState.COLLECTING}),  # only if a person wants it stacked after all
    BlockState.FAILED: frozenset(
        {BlockState.READY, BlockState.COLLECTING, BlockState.COVERED, BlockState.RAW}
    ),
}
OPEN_BLOCKS = frozenset({BlockState.COLLECTING, BlockState.READY, BlockState.SKIPPED, BlockState.FAILED})
FINAL_BLOCKS = frozenset({BlockState.STACKED, BlockState.COVERED, BlockState.RAW})


class DeliveryKind(StrEnum):
    """What is owed to a destination."""

    STACK = "stack"  # to CrowdSky
    RAW = "raw frames"  # of a block, to CrowdSky's own stacker
    MEASUREMENT = "measurement"  # to the node cloud
    IMAGE = "image"  # the FITS that a measurement was made of, to the node cloud, after the measurement


class DeliveryState(StrEnum):
    """Where a delivery is on its way to being seen at its destination."""

    PENDING = "pending"
    SENDING = "sending"
    ACCEPTED = "accepted"  # the server said ok: queued there, not yet listed
    CONFIRMED = "confirmed"  # the server lists it
    RETRYING = "retrying"  # tried, to be tried again at next_attempt_at
    DEAD = "dead"  # kept, shown, tried again by hand


DELIVERY_STEPS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.DEAD}),
    DeliveryState.SENDING: frozenset(
        {DeliveryState.ACCEPTED, DeliveryState.CONFIRMED, DeliveryState.RETRYING, DeliveryState.DEAD}
    ),
    DeliveryState.ACCEPTED: frozenset({DeliveryState.CONFIRMED, DeliveryState.DEAD}),
    DeliveryState.CONFIRMED: frozenset(),
    DeliveryState.RETRYING: frozenset({DeliveryState.SENDING, DeliveryState.CONFIRMED, DeliveryState.DEAD}),
    DeliveryState.DEAD: frozenset({DeliveryState.PENDING}),
}
OWED_DELIVERIES = frozenset({DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.RETRYING})


class HandOverState(StrEnum):
    """Where a plan or an interrupt is on its way to a telescope."""

    NOT_ASKED = ""
    WAITING = "waiting"  # tried again until it is there, or cannot be
    HANDED_OVER = "handed over"
    REFUSED = "refused"


class TelescopeState(StrEnum):
    """What a telescope is doing, as far as we can say; the reason stands beside it."""

    UNKNOWN = "unknown"  # never asked yet
    READY = "ready"
    OBSERVING = "observing"
    STACKING = "stacking"
    UNREACHABLE = "unreachable"
    KEY_MISSING = "key missing"
    KEY_REFUSED = "key refused"
    BUSY_ELSEWHERE = "busy elsewhere"  # it stacks, but nothing of ours
    FULL = "full"
    CLOCK_WRONG = "clock wrong"


IN_TOUCH = frozenset(
    {
        TelescopeState.READY,
        TelescopeState.OBSERVING,
        TelescopeState.STACKING,
        TelescopeState.BUSY_ELSEWHERE,
        TelescopeState.FULL,
    }
)


class Reach(StrEnum):
    """How far a telescope could be reached: what a home server sees of "away", and no more.

    A telescope without power and one without Wi-Fi look the same from outside. What differs is whether
    its host answers at all, and with what.
    """

    ANSWERS = "answers"
    NO_SUCH_NAME = "no such name"  # its name gives no address
    NO_NETWORK = "no network"  # this server itself has no way out
    ABSENT = "absent"  # the network says that no device has the address: off, out of the Wi-Fi, or moved
    SILENT = "silent"  # what is sent to it vanishes: the same, or asleep, or a firewall
    REFUSED = "refused"  # its host is up and nothing listens: it starts, or it is something else
    PROGRAM_SILENT = "program silent"  # it takes connections and says nothing: half asleep, or stuck
    BROKE_OFF = "broke off"  # it was spoken to when it fell silent: the Wi-Fi went, or its power
    STRANGER = "stranger"  # something else answers at its address


HOST_ANSWERS = frozenset(
    {Reach.ANSWERS, Reach.REFUSED, Reach.PROGRAM_SILENT, Reach.STRANGER}
)  # a device is at the address; in all other cases nothing is known to be
