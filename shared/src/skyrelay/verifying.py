"""The proof of a delivery: fetch what the server has, and compare it with what lies in the archive."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from skyrelay.arrivals import sha256_of
from skyrelay.crowdsky.errors import StackMissing
from skyrelay.crowdsky.matching import StackIdentity, find_ours
from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.domain.chunk import chunk_of
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import TransientError
from skyrelay.fits_compare import differences
from skyrelay.fits_header import FitsError
from skyrelay.outbox.identity import identities_of, identity_of
from skyrelay.store.engine import Store
from skyrelay.store.tables import Block, Delivery, Stack
from skyrelay.store.tables.destinations import CROWDSKY
from skyrelay.store.transitions import audit

_ACTOR = "person"


class Downloads(Protocol):
    """What a proof needs of `skyrelay.crowdsky.client.CrowdSkyClient`."""

    def list_stacks(self) -> list[ServerStack]:
        """List the user's stacks."""
        ...

    def download_stack(self, chunk_key: str, folder: Path) -> Path:
        """Fetch a stack into a folder; give where it lies."""
        ...


class Verdict(StrEnum):
    """What comes of looking at one delivery."""

    SAME = "same"
    LISTED = "listed"  # made by the server of raw frames: that it is there is all that can be told
    DIFFERS = "differs"
    MISSING = "missing"  # the server lists it no more
    NOT_VERIFIABLE = "not verifiable"  # nothing can be said, and nothing is known to be wrong
    NOT_HAD = "not had"  # the download failed; another time


_WRONG = frozenset({Verdict.DIFFERS, Verdict.MISSING})
_GOOD = frozenset({Verdict.SAME, Verdict.LISTED})


@dataclass(frozen=True, slots=True)
class Finding:
    """One delivery's verdict, with what is behind it."""

    delivery_id: int
    name: str
    chunk_key: str | None
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of how many confirmed deliveries.

    Attributes
    ----------
    raw
        How many of those are blocks whose raw frames were sent, for the server to stack.
    """

    confirmed: int
    raw: int
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether everything that was looked at is there as it was sent, as far as can be told."""
        verdicts = Counter(finding.verdict for finding in self.findings)
        nothing_wrong = not any(verdicts[verdict] for verdict in (*_WRONG, Verdict.NOT_HAD))
        return nothing_wrong and (any(verdicts[verdict] for verdict in _GOOD) or not self.findings)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """``identities``: of a stack one, of raw frames one for each stack that the server makes of them."""

    delivery_id: int
    name: str
    chunk_key: str | None
    compared_at: float
    identities: tuple[StackIdentity, ...]
    is_raw: bool = False
    archive_path: str | None = None
    sha256: str | None = None


def verify(
    store: Store,
    server: Downloads,
    locate: Callable[[str], Path],
    *,
    share: float,
    without_place: bool,
    clock: Callable[[], datetime],
    on_finding: Callable[[Finding], None] = lambda _: None,
) -> Proof:
    """Compare confirmed stacks with what the server has of them, and write the verdicts down.

    Of raw frames that were sent the server makes a stack of its own, like no file of ours: of those it is
    only told whether the server lists it.

    Parameters
    ----------
    locate
        Gives where a file of the archive lies.
    share
        Which part of them, above 0 and up to 1; those go first that were not compared for longest.
    without_place
        Whether the server's copies were to be kept without the site's coordinates.
    on_finding
        Called with each verdict.

    Raises
    ------
    skyrelay.crowdsky.errors.CrowdSkyError
        If the server's list cannot be had.
    """
    with store.read() as session:
        confirmed = [*_stacks(session), *_raw_blocks(session)]
    random.shuffle(confirmed)  # of those that were never compared, any: then a small sample is one
    confirmed.sort(key=lambda candidate: candidate.compared_at)
    chosen = confirmed[: math.ceil(len(confirmed) * share)]
    rows = server.list_stacks() if chosen else []
    shared = _shared_keys(rows, confirmed)
    findings = []
    for candidate in chosen:
        verdict, detail = _look(candidate, rows, shared, server, locate, without_place=without_place)
        finding = Finding(candidate.delivery_id, candidate.name, candidate.chunk_key, verdict, detail)
        _write_down(store, finding, clock())
        on_finding(finding)
        findings.append(finding)
    return Proof(len(confirmed), sum(candidate.is_raw for candidate in confirmed), findings)


def _stacks(session: Session) -> Iterator[_Candidate]:
    query = select(Delivery, Stack).join(Stack, Stack.id == Delivery.stack_id)
    for delivery, stack in session.execute(query.where(*_is_confirmed(DeliveryKind.STACK))):
        yield _Candidate(
            delivery_id=delivery.id,
            name=stack.crowdsky_name,
            chunk_key=delivery.server_chunk_key,
            compared_at=_compared_at(delivery),
            identities=(identity_of(session, delivery),),
            archive_path=None if stack.removed_at is not None else stack.archive_path,
            sha256=stack.sha256,
        )


def _raw_blocks(session: Session) -> Iterator[_Candidate]:
    query = select(Delivery, Block).join(Block, Block.id == Delivery.block_id)
    for delivery, block in session.execute(query.where(*_is_confirmed(DeliveryKind.RAW))):
        frames = len(delivery.raw_frames["frames"]) if delivery.raw_frames else 0
        yield _Candidate(
            delivery_id=delivery.id,
            name=f"{frames} raw frames of {block.target}, {chunk_of(block.start_at)}",
            chunk_key=delivery.server_chunk_key,
            compared_at=_compared_at(delivery),
            identities=identities_of(session, delivery),
            is_raw=True,
        )


def _is_confirmed(kind: DeliveryKind) -> tuple[ColumnElement[bool], ...]:
    return (
        Delivery.destination == CROWDSKY,
        Delivery.kind == kind,
        Delivery.state == DeliveryState.CONFIRMED,
    )


def _compared_at(delivery: Delivery) -> float:
    return 0.0 if delivery.verified_at is None else delivery.verified_at.timestamp()


def _shared_keys(rows: Sequence[ServerStack], confirmed: Sequence[_Candidate]) -> Mapping[str, int]:
    """Count the stacks that have one key: a download by key gives only one of them."""
    listed = Counter(row.chunk_key for row in rows if row.chunk_key)
    ours = Counter(candidate.chunk_key for candidate in confirmed if candidate.chunk_key)
    counts = {key: max(listed[key], ours[key]) for key in listed | ours}
    return {key: number for key, number in counts.items() if number > 1}


def _look(
    candidate: _Candidate,
    rows: Sequence[ServerStack],
    shared: Mapping[str, int],
    server: Downloads,
    locate: Callable[[str], Path],
    *,
    without_place: bool,
) -> tuple[Verdict, str]:
    if candidate.is_raw:
        return _look_for_raw(candidate, rows)
    listed = find_ours(rows, candidate.identities[0])
    if listed.row is None and not listed.may_be_there:
        return Verdict.MISSING, "the server lists it no more"
    if listed.row is None:
        return Verdict.NOT_VERIFIABLE, "the server says too little about a stack to tell that it is this one"
    obstacle = _obstacle(candidate, shared, locate)
    if obstacle or candidate.chunk_key is None or candidate.archive_path is None:
        return Verdict.NOT_VERIFIABLE, obstacle
    ours = locate(candidate.archive_path)
    if candidate.sha256 is not None and sha256_of(ours) != candidate.sha256:
        return Verdict.DIFFERS, "our own file has changed since it was fetched"
    return _fetch_and_compare(server, candidate.chunk_key, ours, without_place=without_place)


def _look_for_raw(candidate: _Candidate, rows: Sequence[ServerStack]) -> tuple[Verdict, str]:
    """Tell whether the server lists all that it made of raw frames; its pixels are its own work."""
    if not candidate.identities:
        return Verdict.NOT_VERIFIABLE, "which frames were sent is not in the books"
    found = [find_ours(rows, identity) for identity in candidate.identities]
    if any(listed.row is None and not listed.may_be_there for listed in found):
        return Verdict.MISSING, "the server lists the stack of these raw frames no more"
    if any(listed.row is None for listed in found):
        return Verdict.NOT_VERIFIABLE, "the server says too little about a stack to tell that it is this one"
    stacks = ", ".join(f"stack {listed.row.id}" for listed in found if listed.row is not None)
    return Verdict.LISTED, f"the server lists what it made of them: {stacks}; its pixels are its own work"


def _fetch_and_compare(
    server: Downloads, chunk_key: str, ours: Path, *, without_place: bool
) -> tuple[Verdict, str]:
    with TemporaryDirectory(prefix="skyrelay-verify-") as folder:
        try:
            copy = server.download_stack(chunk_key, Path(folder))
            found = list(differences(ours, copy, without_place=without_place))
        except StackMissing as error:
            return Verdict.MISSING, str(error)
        except TransientError as error:
            return Verdict.NOT_HAD, str(error)
        except (FitsError, OSError, ValueError) as error:  # ValueError: astropy's word for a broken file
            return Verdict.DIFFERS, f"it cannot be compared: {error}"
    return (Verdict.DIFFERS, "; ".join(found)) if found else (Verdict.SAME, "")


def _obstacle(candidate: _Candidate, shared: Mapping[str, int], locate: Callable[[str], Path]) -> str:
    """Say why a stack cannot be compared; empty if it can."""
    if candidate.chunk_key is None:
        return "the server did not say under which key it has it"
    if candidate.chunk_key in shared:
        return f"{shared[candidate.chunk_key]} stacks share its key, and a download by key gives one of them"
    if candidate.archive_path is None or not locate(candidate.archive_path).is_file():
        return "its file is no longer in the archive"
    return ""


def _write_down(store: Store, finding: Finding, now: datetime) -> None:
    if finding.verdict in {Verdict.NOT_VERIFIABLE, Verdict.NOT_HAD}:
        return
    with store.write() as session:
        delivery = session.get_one(Delivery, finding.delivery_id)
        is_wrong = finding.verdict in _WRONG
        if is_wrong or delivery.needs_you:
            delivery.reason = finding.detail or "compared: the server has it as it was sent"
        delivery.needs_you, delivery.updated_at = is_wrong, now
        delivery.verified_at = delivery.verified_at if is_wrong else now
        subject, event = ("delivery", delivery.id), f"compared: {finding.verdict}"
        audit(session, now=now, actor=_ACTOR, subject=subject, event=event, reason=finding.detail)
