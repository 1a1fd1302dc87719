"""Ask the network who is there, when a person wants to know."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from skyrelay.domain.asked import Asked
from skyrelay.logs import get_logger
from skyrelay.seestar.discovery import broadcast_addresses, discover
from skyrelay.service import utc_now
from skyrelay.store.tables import Discovery
from skyrelay_stacker.workshop import Workshop

_LISTEN = timedelta(seconds=3)  # six questions: a sleepy Wi-Fi loses some
HOST_NETWORK_LOCK = "discovery.lock"  # held, in the data folder, by who looks from the host's network
_WORTH_ASKING = timedelta(minutes=10)  # then nobody waits for the answer any more


def is_left_to_another(data_dir: Path) -> bool:
    """Tell whether `skyrelay_stacker.host_network` answers, which hears more."""
    try:
        handle = os.open(data_dir / HOST_NETWORK_LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def discover_telescopes(workshop: Workshop) -> int:
    """Answer the questions that wait; give how many. One that is asked twice is harmless."""
    with workshop.store.read() as session:
        open_ones = select(Discovery).where(
            Discovery.finished_at.is_(None), Discovery.asked_at >= utc_now() - _WORTH_ASKING
        )
        waiting = session.scalars(open_ones.order_by(Discovery.id)).all()
    for question in waiting:
        _answer(workshop, question.id, question.addresses)
    return len(waiting)


def _answer(workshop: Workshop, discovery_id: int, addresses: Sequence[str]) -> None:
    found, problem = _ask(workshop, addresses)
    with workshop.store.write() as session:
        row = session.get_one(Discovery, discovery_id)
        if row.finished_at is None:
            row.finished_at, row.found, row.problem = utc_now(), found, problem


def _ask(workshop: Workshop, addresses: Sequence[str]) -> tuple[list[dict[str, object]], str]:
    asked: list[str | Asked] = [*broadcast_addresses(), *workshop.settings.asked, *addresses]
    try:
        telescopes = discover(asked, listen=_LISTEN)
    except (OSError, ValueError) as error:  # no network at all
        get_logger(__name__).warning("telescopes cannot be looked for", problem=str(error))
        return [], f"nobody could be asked: {error}"
    return [asdict(telescope) for telescope in telescopes], ""
