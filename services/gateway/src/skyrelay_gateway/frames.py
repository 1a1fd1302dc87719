"""Frames over the API: the list, and the release of those that are held for their telescope's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from skyrelay.domain.states import FrameState
from skyrelay.store.held_frames import is_not_ok
from skyrelay.store.receipts import LocalTime
from skyrelay.store.tables import Block, Frame, Telescope
from skyrelay.store.transitions import audit
from skyrelay_gateway.finding import find_telescope
from skyrelay_gateway.models import Page, View
from skyrelay_gateway.paging import PageRequest, cut
from skyrelay_gateway.problems import Problem, not_found
from skyrelay_gateway.visits import actor

_NOON = timedelta(hours=12)


class FrameView(View):
    """A sub-frame; ``saved_local`` is the telescope's wall clock in its name, ``start_at`` of its exposure.

    ``start_source`` says whether the header or the name told that, ``offset_source`` who told how far the
    clock is from UTC. ``is_held``: only a person lets it go on. ``stack_id`` is the stack made of it.
    """

    id: int
    telescope: str
    target: str
    folder: str
    file_name: str
    exposure: str
    filter: str
    saved_local: LocalTime
    start_at: AwareDatetime | None
    start_source: str | None
    utc_offset_min: int | None
    offset_source: str | None
    size_bytes: int
    state: FrameState
    state_reason: str | None
    is_held: bool
    released_at: AwareDatetime | None
    seen_by: str
    seen_at: AwareDatetime
    inventoried_at: AwareDatetime | None
    block_id: int | None
    stack_id: int | None


class ReleaseRequest(BaseModel):
    """Which held frames to let go on: one, or those of a telescope, a night (the evening's date) or both."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"telescope": "garden", "night": "2025-03-26"}, {"frame_id": 7}]},
    )

    frame_id: int | None = Field(default=None, ge=1, le=2**53)
    telescope: str | None = Field(default=None, max_length=200, description="its name or serial number")
    night: date | None = Field(default=None, ge=date(2000, 1, 1), le=date(2999, 12, 31))
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        if (self.frame_id is not None) == bool(self.telescope or self.night):
            raise ValueError("name a frame_id, or a telescope and/or a night")
        return self


class ReleaseAnswer(View):
    """How many frames were let go on, or would be (``dry_run``), by telescope."""

    dry_run: bool
    frames: int
    telescopes: dict[str, int]
    note: str | None


@dataclass(frozen=True, slots=True)
class FrameFilters:
    """What the list is confined to; `None` does not confine it."""

    block_id: int | None = None
    telescope: str | None = None
    target: str | None = None
    night: date | None = None
    state: FrameState | None = None


def list_frames(session: Session, page: PageRequest, filters: FrameFilters) -> Page[FrameView]:
    """List frames, the latest recorded first."""
    query = select(Frame, Telescope.name).join(Telescope, Telescope.id == Frame.telescope_id)
    query = query.where(*_conditions(session, filters))
    if page.after_id is not None:
        query = query.where(Frame.id < page.after_id)
    rows, cursor = cut(
        session.execute(query.order_by(Frame.id.desc()).limit(page.limit + 1)).all(),
        page.limit,
        lambda row: str(row[0].id),
    )
    return Page(items=tuple(frame_view(frame, name) for frame, name in rows), next_cursor=cursor)


def one_frame(session: Session, frame_id: int) -> FrameView:
    """Give one frame; raise a 404 `Problem` when there is none of that id."""
    query = select(Frame, Telescope.name).join(Telescope, Telescope.id == Frame.telescope_id)
    row = session.execute(query.where(Frame.id == frame_id)).one_or_none()
    if row is None:
        raise _no_frame(frame_id)
    return frame_view(row[0], row[1])


def frame_view(frame: Frame, telescope: str) -> FrameView:
    """Give a frame as the API shows it; where it was taken is not told."""
    return FrameView(
        id=frame.id,
        telescope=telescope,
        target=frame.target,
        folder=frame.folder,
        file_name=frame.file_name,
        exposure=frame.exposure,
        filter=frame.filter,
        saved_local=frame.saved_local,
        start_at=frame.start_at,
        start_source=frame.start_source,
        utc_offset_min=frame.utc_offset_min,
        offset_source=frame.offset_source,
        size_bytes=frame.size_bytes,
        state=FrameState(frame.state),
        state_reason=frame.state_reason,
        is_held=_is_held(frame),
        released_at=frame.released_at,
        seen_by=frame.seen_by,
        seen_at=frame.seen_at,
        inventoried_at=frame.inventoried_at,
        block_id=frame.block_id,
        stack_id=frame.stack_id,
    )


def release(session: Session, request: ReleaseRequest, now: datetime) -> ReleaseAnswer:
    """Let held frames go on; the stacker puts them into their blocks.

    Raises
    ------
    Problem
        404 for a telescope or frame that is not there, 409 for a frame that is not held.
    """
    wanted = and_(*_held_conditions(session, request))
    counted = (
        select(Telescope.name, Frame.telescope_id, func.count())
        .join_from(Frame, Telescope)
        .where(wanted)
        .group_by(Telescope.name, Frame.telescope_id)
        .order_by(Telescope.name)
    )
    counts = session.execute(counted).all()
    if request.frame_id is not None and not counts:
        _refuse(session, request.frame_id)
    if not request.dry_run:
        session.execute(update(Frame).where(wanted).values(released_at=now, needs_release=False))
        for _name, telescope_id, number in counts:
            _note(session, request, telescope_id, number, now)
    by_telescope = {name: number for name, _id, number in counts}
    return ReleaseAnswer(
        dry_run=request.dry_run, frames=sum(by_telescope.values()), telescopes=by_telescope, note=None
    )


def _note(session: Session, request: ReleaseRequest, telescope_id: int, number: int, now: datetime) -> None:
    subject = ("telescope", telescope_id) if request.frame_id is None else ("frame", request.frame_id)
    of_night = f" of the night of {request.night}" if request.night else ""
    reason = f"{number} frame{'' if number == 1 else 's'}{of_night} held for the clock"
    audit(session, now=now, actor=actor(), subject=subject, event="released", reason=reason)


def _is_held(frame: Frame) -> bool:
    is_doubted = frame.needs_release or frame.state == FrameState.CLOCK_WRONG
    return is_doubted and frame.released_at is None


def _held_conditions(session: Session, request: ReleaseRequest) -> list[ColumnElement[bool]]:
    is_doubted = or_(Frame.needs_release.is_(True), Frame.state == FrameState.CLOCK_WRONG)
    conditions = [is_not_ok(), is_doubted, Frame.released_at.is_(None), Frame.stack_id.is_(None)]
    if request.frame_id is not None:
        conditions.append(Frame.id == request.frame_id)
    if request.telescope is not None:
        conditions.append(Frame.telescope_id == find_telescope(session, request.telescope))
    if request.night is not None:
        conditions.extend(_of_night(request.night))
    return conditions


def _refuse(session: Session, frame_id: int) -> None:
    if session.get(Frame, frame_id) is None:
        raise _no_frame(frame_id)
    raise Problem(409, f"Frame {frame_id} is not held for its telescope's clock.", "There is nothing to do.")


def _no_frame(frame_id: int) -> Problem:
    return Problem(404, f"There is no frame {frame_id}.", "GET /api/v1/frames lists what there is.")


def _of_night(night: date) -> tuple[ColumnElement[bool], ...]:
    """Confine to a night, from noon to noon by the telescope's clock."""
    noon = datetime.combine(night, time()) + _NOON
    return (Frame.saved_local >= noon, Frame.saved_local < noon + 2 * _NOON)


def _conditions(session: Session, filters: FrameFilters) -> list[ColumnElement[bool]]:
    """Write the conditions so that the most selective index is the one that is used.

    A block has few frames, a night some thousand, a state other than ok few; a telescope and a target may
    have a million. SQLite knows no numbers of rows, so a column whose index would mislead it is hidden.
    """
    is_narrow = filters.block_id is not None or filters.night is not None
    is_rare = filters.state not in {None, FrameState.OK}
    conditions: list[ColumnElement[bool]] = []
    if filters.block_id is not None:
        conditions.append(Frame.block_id == filters.block_id)
    if filters.night is not None:
        conditions.extend(_of_night(filters.night))
    if filters.state is not None:
        state = Frame.state if is_rare and not is_narrow else _hidden(Frame.state)
        conditions.append(state == filters.state.value)
        if is_rare and not is_narrow:
            conditions.append(is_not_ok())
    if filters.telescope is not None:
        id_ = find_telescope(session, filters.telescope)
        hidden = func.coalesce(Frame.telescope_id, 0)
        conditions.append((hidden if is_narrow or is_rare else Frame.telescope_id) == id_)
    if filters.target is not None:
        check_frame_target(session, filters.target)
        target = _hidden(Frame.target) if is_narrow or is_rare else Frame.target
        conditions.append(target == filters.target)
    return conditions


def _hidden(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    return func.coalesce(column, "")


def check_frame_target(session: Session, target: str) -> None:
    """Raise a 404 `Problem` unless there is a frame of ``target``; held frames are in no block."""
    if session.scalar(select(Frame.id).where(Frame.target == target).limit(1)) is None:
        raise not_found("target", target, session.scalars(select(Block.target).distinct()))
