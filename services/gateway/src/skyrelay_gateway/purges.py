"""A person has CrowdSky's files removed from telescopes, in two steps: a list, then its confirmation.

The gateway talks to no telescope: the stacker lists and removes, both by rows. The token that confirms a
list is made when the list is handed out, of which it is the only copy, and is good once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.purge_states import PurgedFile, PurgeState
from skyrelay.seestar.paths import is_safe_name
from skyrelay.store.tables import Purge, PurgeFile, PurgePart, Telescope
from skyrelay.store.transitions import audit
from skyrelay_gateway.finding import find_telescope
from skyrelay_gateway.models import View
from skyrelay_gateway.problems import Problem
from skyrelay_gateway.visits import actor

TOKEN_FOR = timedelta(minutes=10)
_ASK_AGAIN = "Ask again with POST /api/v1/purge."


class PurgeRequest(BaseModel):
    """What to remove: of telescopes and/or of a target, of all, or what ``purge_id`` has had listed.

    Stacks that CrowdSky is not known to have are named and kept, unless ``undelivered`` is said.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"telescopes": ["garden"], "target": "M 81"}, {"all": True}]},
    )

    telescopes: tuple[str, ...] = Field(default=(), max_length=100, description="names or serial numbers")
    target: str | None = Field(default=None, min_length=1, max_length=200, description="the stacks' folder")
    all: bool = False
    purge_id: int | None = Field(default=None, ge=1, le=2**53, description="a list that was asked for before")
    undelivered: bool = Field(default=False, description="also what CrowdSky is not known to have")
    by: str | None = Field(
        default=None, min_length=1, max_length=100, description="for whom the caller asks, as it says"
    )
    wait_s: float = Field(default=10, ge=0, le=30, description="how long to wait for the list")

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> Self:
        if sum((self.purge_id is not None, self.all, bool(self.telescopes or self.target))) != 1:
            raise ValueError("name telescopes and/or a target, or say all: true, or give a purge_id")
        if self.target is not None and not is_safe_name(self.target):
            raise ValueError("target is no name of a folder")
        return self


class PurgeConfirmation(BaseModel):
    """The token that came with the list."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"token": "the token of POST /purge"}]}
    )

    token: str = Field(min_length=1, max_length=200)


class PurgeFileView(View):
    """One file; ``is_delivered`` says that CrowdSky lists the stack that it is or belongs to."""

    folder: str
    name: str
    size_bytes: int | None
    is_delivered: bool
    state: PurgedFile
    reason: str


class PurgePartView(View):
    """A purge on one telescope."""

    telescope: str
    state: PurgeState
    reason: str
    updated_at: AwareDatetime
    files: tuple[PurgeFileView, ...]


class PurgeView(View):
    """A purge: ``files`` counts the files by state, ``doomed_bytes`` what their removal would free."""

    id: int
    by: str
    target: str | None
    undelivered: bool
    asked_at: AwareDatetime
    confirmed_at: AwareDatetime | None
    state: PurgeState
    files: dict[str, int]
    doomed_bytes: int
    telescopes: tuple[PurgePartView, ...]


class PurgeAnswer(View):
    """The list, with the token that confirms it; there is none for a list that is not there or is empty."""

    purge: PurgeView
    token: str | None
    token_until: AwareDatetime | None
    note: str | None


def order(session: Session, request: PurgeRequest, now: datetime) -> int:
    """Write down that a list is wanted; give the purge's id.

    Raises
    ------
    Problem
        404 for a telescope that is not there, 409 where none can be asked.
    """
    ids = _telescopes(session, request)
    purge = Purge(by=actor(request.by), target=request.target, undelivered=request.undelivered, asked_at=now)
    session.add(purge)
    session.flush()
    session.add_all(
        PurgePart(purge_id=purge.id, telescope_id=id_, state=PurgeState.LISTING, updated_at=now)
        for id_ in ids
    )
    return purge.id


def _telescopes(session: Session, request: PurgeRequest) -> Sequence[int]:
    reachable = select(Telescope.id).where(Telescope.host.is_not(None)).order_by(Telescope.id)
    if request.telescopes:
        named = {find_telescope(session, name) for name in request.telescopes}
        reachable = reachable.where(Telescope.id.in_(named))
    found = session.scalars(reachable).all()
    if not found:
        raise Problem(409, "None of them has an address.", "Put it under `telescopes` in config.yaml.")
    return found


def part_ids(session: Session, purge_id: int, state: PurgeState) -> Sequence[int]:
    """Give the ids of a purge's parts that are in a state."""
    query = select(PurgePart.id).where(PurgePart.purge_id == purge_id, PurgePart.state == state)
    return session.scalars(query.order_by(PurgePart.id)).all()


def view(session: Session, purge_id: int) -> PurgeView:
    """Give a purge with all of its files; raise a 404 `Problem` for none."""
    purge = session.get(Purge, purge_id)
    if purge is None:
        raise Problem(404, f"There is no purge {purge_id}.", _ASK_AGAIN)
    query = (
        select(PurgePart, Telescope.name)
        .join(Telescope, Telescope.id == PurgePart.telescope_id)
        .where(PurgePart.purge_id == purge_id)
        .order_by(Telescope.name)
    )
    rows = [(part, name) for part, name in session.execute(query)]
    files = _files(session, [part.id for part, _name in rows])
    return PurgeView(
        id=purge.id,
        by=purge.by,
        target=purge.target,
        undelivered=purge.undelivered,
        asked_at=purge.asked_at,
        confirmed_at=purge.confirmed_at,
        state=_state_of_all(part.state for part, _name in rows),
        files=dict(Counter(file.state for some in files.values() for file in some)),
        doomed_bytes=sum(
            file.size_bytes or 0
            for some in files.values()
            for file in some
            if file.state == PurgedFile.DOOMED
        ),
        telescopes=tuple(
            PurgePartView(
                telescope=name,
                state=PurgeState(part.state),
                reason=part.reason,
                updated_at=part.updated_at,
                files=tuple(map(_file_view, files[part.id])),
            )
            for part, name in rows
        ),
    )


def hand_out(session: Session, purge_id: int, now: datetime, note: str | None) -> PurgeAnswer:
    """Give a list; with a new token when it is complete and something is to go. Earlier tokens are void.

    Raises
    ------
    Problem
        404 for a purge that is not there.
    """
    shown = view(session, purge_id)
    token = None
    if (
        shown.confirmed_at is None
        and shown.state != PurgeState.LISTING
        and shown.files.get(PurgedFile.DOOMED)
    ):
        token = secrets.token_urlsafe(32)
        purge = session.get_one(Purge, purge_id)
        purge.token_sha256, purge.token_until = _hash(token), now + TOKEN_FOR
    until = now + TOKEN_FOR if token else None
    return PurgeAnswer(purge=shown, token=token, token_until=until, note=note)


def confirm(session: Session, token: str, now: datetime) -> int:
    """Have the files removed whose list came with the token; give the purge's id.

    Raises
    ------
    Problem
        404 for a token that was never given or is void, 409 for one that was used, 410 for an old one.
    """
    purge = session.scalar(select(Purge).where(Purge.token_sha256 == _hash(token)))
    if purge is None:
        raise Problem(404, "No list has this token.", _ASK_AGAIN)
    if purge.confirmed_at is not None:
        raise Problem(
            409, "This token was used already.", f"GET /api/v1/purges/{purge.id} says what came of it."
        )
    if purge.token_until is None or now >= purge.token_until:
        raise Problem(410, "This token is too old: the list may have changed since.", _ASK_AGAIN)
    purge.confirmed_at = now
    for part_id in part_ids(session, purge.id, PurgeState.LISTED):
        _release(session, session.get_one(PurgePart, part_id), now)
    audit(session, now=now, actor=actor(), subject=("purge", purge.id), event="confirmed")
    return purge.id


def _release(session: Session, part: PurgePart, now: datetime) -> None:
    doomed = select(PurgeFile.id).where(PurgeFile.part_id == part.id, PurgeFile.state == PurgedFile.DOOMED)
    has_any = session.scalar(doomed.limit(1)) is not None
    part.state = PurgeState.REMOVING if has_any else PurgeState.DONE
    part.updated_at = now


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _files(session: Session, part_ids: Sequence[int]) -> dict[int, list[PurgeFile]]:
    by_part: dict[int, list[PurgeFile]] = defaultdict(list)
    query = select(PurgeFile).where(PurgeFile.part_id.in_(part_ids))
    for file in session.scalars(query.order_by(PurgeFile.folder, PurgeFile.file_name)):
        by_part[file.part_id].append(file)
    return by_part


def _file_view(file: PurgeFile) -> PurgeFileView:
    return PurgeFileView(
        folder=file.folder,
        name=file.file_name,
        size_bytes=file.size_bytes,
        is_delivered=file.is_delivered,
        state=PurgedFile(file.state),
        reason=file.reason,
    )


_FIRST_THE_UNFINISHED = (
    PurgeState.LISTING,
    PurgeState.REMOVING,
    PurgeState.LISTED,
    PurgeState.CHANGED,
    PurgeState.FAILED,
    PurgeState.DONE,
)


def _state_of_all(states: Iterable[str]) -> PurgeState:
    """Say how far a purge is on all telescopes: what is not finished comes first, then what went wrong."""
    there = set(states)
    return next(state for state in _FIRST_THE_UNFINISHED if state in there)
