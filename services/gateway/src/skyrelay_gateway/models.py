"""The answers of the API, typed. No site's coordinates, no key and no password is in any of them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from skyrelay.domain.states import BlockState, DeliveryKind, DeliveryState, Reach, TelescopeState
from skyrelay.store.receipts import LocalTime

ItemT = TypeVar("ItemT")


class View(BaseModel):
    """What all answers share."""

    model_config = ConfigDict(frozen=True)


class Page(View, Generic[ItemT]):
    """A part of a list; ``next_cursor`` is for the next one, null at the end."""

    items: tuple[ItemT, ...]
    next_cursor: str | None


class TelescopeView(View):
    """A telescope: ``words`` say what it is doing, ``reason`` how we know, ``reach`` how far it answers.

    ``host`` is what the configuration says, ``found_host`` where it answers if it has moved since. It was
    asked last at ``looked_at``. ``added_at`` is when a person added it here; one with ``forgotten_at`` is
    left alone.
    """

    id: int
    name: str
    serial: str | None
    model: str | None
    firmware: str | None
    host: str | None
    found_host: str | None
    rpc_port: int
    http_port: int
    smb_port: int
    timezone: str
    state: TelescopeState
    reach: Reach | None
    words: str
    reason: str
    state_since: AwareDatetime | None
    last_seen_at: AwareDatetime | None
    battery_percent: int | None
    free_mb: int | None
    temperature_c: float | None
    looked_at: AwareDatetime | None
    inventory_finished_at: AwareDatetime | None
    inventory_asked_at: AwareDatetime | None
    inventory_error: str | None
    added_at: AwareDatetime | None
    forgotten_at: AwareDatetime | None


class TargetView(View):
    """What one telescope has of one target, over all nights."""

    telescope: str
    target: str
    frames: int
    exposure_total_s: float
    blocks: int
    blocks_stacked: int
    first_night: date
    last_night: date


class BlockView(View):
    """A block; ``start_local`` is the telescope's wall clock, ``utc_offset`` how far that is from UTC.

    ``late_frames`` came after its stack was made; they are in none unless a person asks for another one.
    """

    id: int
    telescope: str
    target: str
    exposure: str
    filter: str
    start_at: AwareDatetime
    end_at: AwareDatetime
    start_local: LocalTime
    utc_offset: str = Field(examples=["UTC−4"])
    night: date
    frame_count: int
    state: BlockState
    reason: str
    requested: bool
    attempts: int
    next_attempt_at: AwareDatetime | None
    needs_you: bool
    percent: float | None
    late_frames: int
    stack_id: int | None
    stack_name: str | None
    chunk_key: str | None
    updated_at: AwareDatetime


class StackView(View):
    """A stack; ``chunk_key`` is ours, the server's stands with the delivery. The position is the sky's.

    One with ``found_at`` was made by another tool; while it ``is_offered`` it is not sent.
    """

    id: int
    block_id: int
    telescope: str
    target: str
    exposure: str
    filter: str
    night: date
    name: str
    original_name: str
    chunk_key: str
    frames_input: int | None
    frames_aligned: int | None
    exposure_total_s: float
    first_start_at: AwareDatetime
    last_end_at: AwareDatetime | None
    ra_deg: float | None
    dec_deg: float | None
    size_bytes: int | None
    renamed_at: AwareDatetime | None
    rename_error: str | None
    fetched_at: AwareDatetime | None
    fetch_error: str | None
    found_at: AwareDatetime | None
    is_offered: bool
    created_at: AwareDatetime


class DeliveryView(View):
    """A delivery: one thing owed to one destination; what only a stack has is null for the others.

    Of kind ``raw frames`` it is a block's: they go to the server's own stacker.
    """

    id: int
    kind: DeliveryKind
    stack_id: int | None
    block_id: int | None
    telescope: str | None
    target: str
    night: date | None
    stack_name: str | None
    destination: str
    state: DeliveryState
    reason: str
    attempts: int
    next_attempt_at: AwareDatetime | None
    needs_you: bool
    sent_at: AwareDatetime | None
    accepted_at: AwareDatetime | None
    confirmed_at: AwareDatetime | None
    chunk_key: str | None
    server_chunk_key: str | None
    server_job: str | None
    server_id: str | None
    given_up_at: AwareDatetime | None
    updated_at: AwareDatetime


class NightView(View):
    """A night in figures; its receipt has the rest."""

    night: date
    frames: int
    blocks: int
    blocks_stacked: int
    blocks_raw: int
    blocks_skipped: int
    blocks_covered: int
    blocks_failed: int
    blocks_waiting: int
    delivered: int
    frames_without_block: int


class RunView(View):
    """What a telescope stacked in one go; ``ended_at`` is null while it goes on.

    ``summary`` has the shape of ``skyrelay.crowdsky.chunks.stack_all``'s, with the times as texts.
    """

    id: int
    telescope: str
    night: date
    began_at: AwareDatetime
    ended_at: AwareDatetime | None
    summary: dict[str, Any]


class ServiceView(View):
    """How a service is: ``detail`` is what it says of itself."""

    service: str
    state: Literal["working", "silent", "never seen", "cannot know"]
    at: AwareDatetime | None
    age_s: float | None
    detail: dict[str, Any]


class PartView(View):
    """One thing that Skyrelay needs in order to work."""

    part: str
    ready: bool
    state: str
    what_to_do: str | None


class ReadyView(View):
    """Whether everything is ready, and what is not."""

    ready: bool
    parts: tuple[PartView, ...]


class HealthView(View):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class SetupView(View):
    """``ask``: nothing acts before a person has said so."""

    state: Literal["ask", "done"]
    what_to_do: str | None


class DestinationView(View):
    """Where deliveries go; nothing is sent there while it is paused."""

    name: str
    paused_reason: str | None
    paused_at: AwareDatetime | None
    next_probe_at: AwareDatetime | None
    last_ok_at: AwareDatetime | None


class StackCounts(View):
    """How many stacks there are, how many lie in the archive, how many have yet to get their name."""

    total: int
    archived: int
    not_renamed: int
    offered: int


class IgnoredFileView(View):
    """A file that is left alone, and why."""

    path: str
    reason: str
    seen_at: datetime


class IgnoredFiles(View):
    """Files that are no light frames: how many, and the latest."""

    count: int
    latest: tuple[IgnoredFileView, ...]


class Action(View):
    """A call that a person may want to make: POST ``body`` to ``path``.

    One with ``confirm`` cannot be taken back: that is what a person is asked before. ``done`` says afterwards
    what comes of it.
    """

    label: str
    path: str
    body: dict[str, Any]
    confirm: str | None = None
    done: str | None = None


class NeedsYou(View):
    """Something that goes no further without a person."""

    what: str
    reason: str
    what_to_do: str
    action: Action | None = None


class PauseView(View):
    """Stacking is paused of ``what``; null telescope or target: of all of them. Deliveries go on."""

    what: str
    telescope: str | None
    target: str | None
    by: str
    reason: str
    paused_at: AwareDatetime


class StatusView(View):
    """Everything at a glance; the counts are by state."""

    version: str
    at: AwareDatetime
    setup: SetupView
    auth: Literal["password", "none"] = Field(description="`none`: everybody may do everything")
    services: tuple[ServiceView, ...]
    telescopes: tuple[TelescopeView, ...]
    frames: dict[str, int]
    blocks: dict[str, int]
    stacks: StackCounts
    deliveries: dict[str, int]
    destinations: tuple[DestinationView, ...]
    pauses: tuple[PauseView, ...]
    ignored_files: IgnoredFiles
    stream_backlog: int | None
    needs_you: tuple[NeedsYou, ...]


class StackRequest(BaseModel):
    """What to stack: a block, or a telescope, a target or both, or all there is."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"target": "M 81", "dry_run": True}, {"all": True}, {"block_id": 7}]},
    )

    telescope: str | None = Field(default=None, max_length=200, description="its name or serial number")
    target: str | None = Field(default=None, max_length=200)
    block_id: int | None = Field(default=None, ge=1, le=2**53)
    all: bool = False
    again: bool = Field(default=False, description="stack a block once more, with the frames that came late")
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> StackRequest:
        ways = (self.block_id is not None, self.all, bool(self.telescope or self.target))
        if sum(ways) != 1:
            raise ValueError("name a block_id, or a telescope and/or a target, or say all: true")
        if self.again and self.block_id is None:
            raise ValueError("again: true needs the block_id of the block to stack once more")
        return self


class ResumeRequest(BaseModel):
    """Of what stacking is to go on: all, or a telescope, a target or both."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"telescope": "garden", "target": "M 81"}, {"all": True}]},
    )

    telescope: str | None = Field(default=None, max_length=200, description="its name or serial number")
    target: str | None = Field(default=None, max_length=200)
    all: bool = False
    by: str | None = Field(
        default=None, min_length=1, max_length=100, description="for whom the caller asks, as it says"
    )

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        if self.all == bool(self.telescope or self.target):
            raise ValueError("name a telescope and/or a target, or say all: true")
        return self


class PauseRequest(ResumeRequest):
    """Of what no stack is to be begun: all, or a telescope, a target or both."""

    reason: str = Field(default="", max_length=500)


class PauseAnswer(View):
    """What is paused now, and how many pauses the call lifted."""

    pauses: tuple[PauseView, ...]
    lifted: int


class StackDecision(View):
    """What becomes of one block."""

    id: int
    telescope: str
    target: str
    start_at: AwareDatetime
    frames: int
    would: Literal["stack", "wait", "skip", "nothing"]
    reason: str


class StackAnswer(View):
    """What was asked for, or would be (``dry_run``); ``left_off`` decisions are not listed."""

    dry_run: bool
    asked_for: int
    counts: dict[str, int]
    blocks: tuple[StackDecision, ...]
    left_off: int
    note: str | None


class OfferRequest(BaseModel):
    """Which offered stacks to send: one, a telescope's, or all."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"all": True, "dry_run": True}]}
    )

    stack_id: int | None = Field(default=None, ge=1, le=2**53)
    telescope: str | None = Field(default=None, max_length=200, description="its name or serial number")
    all: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        if sum((self.stack_id is not None, bool(self.telescope), self.all)) != 1:
            raise ValueError("name a stack_id or a telescope, or say all: true")
        return self


class OfferAnswer(View):
    """The offered stacks that are sent now, or would be (``dry_run``)."""

    dry_run: bool
    stacks: int
    names: tuple[str, ...]


class RawRequest(BaseModel):
    """Which block's raw frames to send to the server's own stacker."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"block_id": 7}]})

    block_id: int = Field(ge=1, le=2**53)
    dry_run: bool = False


class RawAnswer(View):
    """The frames that are sent now, or would be (``dry_run``)."""

    dry_run: bool
    block_id: int
    frames: int
    size_bytes: int


class NoFields(BaseModel):
    """An empty object: the call needs no more than its path, and takes JSON all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{}]})


class RetryAnswer(View):
    """The delivery after the call."""

    delivery: DeliveryView
    note: str | None
