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

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.arrivals import sha256_of
from skyrelay.crowdsky.errors import StackMissing
from skyrelay.crowdsky.matching import StackIdentity, find_ours
from skyrelay.crowdsky.stacks import ServerStack
from skyrelay.domain.states import DeliveryKind, DeliveryState
from skyrelay.errors import TransientError
from skyrelay.fits_compare import differences
from skyrelay.fits_header import FitsError
from skyrelay.outbox.identity import identity_of
from skyrelay.store.engine import Store
from skyrelay.store.tables import Delivery, Stack
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
    """What comes of comparing one stack."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"  # the server lists it no more
    NOT_VERIFIABLE = "not verifiable"  # nothing can be said, and nothing is known to be wrong
    NOT_HAD = "not had"  # the download failed; another time


_WRONG = frozenset({Verdict.DIFFERS, Verdict.MISSING})


@dataclass(frozen=True, slots=True)
class Finding:
    """One stack's verdict, with what is behind it."""

    delivery_id: int
    name: str
    chunk_key: str | None
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of how many confirmed stacks."""

    confirmed: int
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether everything that was looked at is there as it was sent, as far as can be told."""
        verdicts = Counter(finding.verdict for finding in self.findings)
        nothing_wrong = not any(verdicts[verdict] for verdict in (*_WRONG, Verdict.NOT_HAD))
        return nothing_wrong and (verdicts[Verdict.SAME] > 0 or not self.findings)


@dataclass(frozen=True, slots=True)
class _Candidate:
    delivery_id: int
    name: str
    chunk_key: str | None
    archive_path: str | None
    sha256: str | None
    identity: StackIdentity


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
        confirmed = list(_confirmed(session))
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
    return Proof(len(confirmed), findings)


def _confirmed(session: Session) -> Iterator[_Candidate]:
    query = (
        select(Delivery, Stack)
        .join(Stack, Stack.id == Delivery.stack_id)
        .where(
            Delivery.destination == CROWDSKY,
            Delivery.kind == DeliveryKind.STACK,
            Delivery.state == DeliveryState.CONFIRMED,
        )
    )
    rows = [(delivery, stack) for delivery, stack in session.execute(query)]
    random.shuffle(rows)  # of those that were never compared, any: then a small sample is one
    for delivery, stack in sorted(rows, key=lambda row: _compared_at(row[0])):
        path = None if stack.removed_at is not None else stack.archive_path
        key, identity = delivery.server_chunk_key, identity_of(session, delivery)
        yield _Candidate(delivery.id, stack.crowdsky_name, key, path, stack.sha256, identity)


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
    listed = find_ours(rows, candidate.identity)
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
