"""Task names, their queues and their messages: one module, so that sender and worker cannot drift.

A message is JSON with ids and a version, nothing else; state is read from the database by the one
who works on it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict


class Queue(StrEnum):
    """One queue a kind of worker."""

    STACKER = "stacker"
    UPLOADER = "uploader"


class TaskName(StrEnum):
    """The tasks, under the names that Flower shows."""

    RECONCILE_STACKING = "stacker.reconcile"
    LOOK_AT_TELESCOPE = "stacker.look_at_telescope"
    STACK_BLOCK = "stacker.stack_block"
    TRY_TELESCOPE = "stacker.try_telescope"
    DISCOVER_TELESCOPES = "stacker.discover_telescopes"
    TIDY = "stacker.tidy"
    PURGE = "stacker.purge"
    STACKER_CANARY = "stacker.canary"
    RECONCILE_DELIVERIES = "uploader.reconcile"
    FETCH_STACK = "uploader.fetch_stack"
    DELIVER = "uploader.deliver"
    CONFIRM_DELIVERIES = "uploader.confirm_deliveries"
    DELIVER_TO_CLOUD = "uploader.deliver_to_cloud"
    UPLOADER_CANARY = "uploader.canary"

    @property
    def queue(self) -> Queue:
        """The queue that its workers consume."""
        return Queue(self.value.partition(".")[0])


class Message(BaseModel):
    """What all messages share. An unknown version or field is refused, never guessed at."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1

    @classmethod
    def read(cls, payload: object) -> Self:
        """Check a payload from the queue; raise `pydantic.ValidationError` for what is none."""
        return cls.model_validate(payload)


class Nothing(Message):
    """A tick: it says "look" and nothing else."""


class TelescopeMessage(Message):
    """Names a telescope's row."""

    telescope_id: int


class BlockMessage(Message):
    """Names a block's row."""

    block_id: int


class PurgeMessage(Message):
    """Names the row of a purge's part on one telescope."""

    part_id: int


class TrialMessage(Message):
    """Names the row of a telescope that is to be tried."""

    trial_id: int


class StackMessage(Message):
    """Names a stack's row."""

    stack_id: int


class DeliveryMessage(Message):
    """Names a delivery's row."""

    delivery_id: int
