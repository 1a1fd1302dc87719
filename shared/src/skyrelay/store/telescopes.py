"""Which telescopes there are: the configured ones, and those known from their frames."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import count

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.domain.states import BlockState, TelescopeState
from skyrelay.settings import TelescopeSettings
from skyrelay.store.handing_over import hand_over
from skyrelay.store.tables import Block, Telescope
from skyrelay.store.transitions import audit, move_block


def lay_down_configured(session: Session, configured: Iterable[TelescopeSettings], now: datetime) -> None:
    """Make the rows of the configured telescopes say what the configuration says.

    One that is no longer configured keeps its frames and loses its address, so that it is left alone.
    """
    configured = tuple(configured)
    for settings in configured:
        row = _row_of(session, settings, now)
        if row is None:
            row = Telescope(name=settings.name, serial=settings.serial, created_at=now)
            session.add(row)
        _copy_address(settings, row)
        session.flush()
    names = [settings.name for settings in configured]
    left = select(Telescope).where(Telescope.host.is_not(None), Telescope.name.not_in(names))
    for row in session.scalars(left):
        take_address(session, row, "is no longer in the configuration", now, "configuration")


def take_address(session: Session, row: Telescope, why: str, now: datetime, actor: str) -> None:
    """Leave a telescope alone from now on: nobody speaks to it without an address.

    Its frames, blocks, stacks and deliveries stay; a stack that is under way is left to a person.
    ``why`` goes on from the telescope's name.
    """
    row.host, row.found_host, row.reach = None, None, None
    row.state, row.state_since = TelescopeState.UNKNOWN, now
    row.state_reason = f"it {why}"
    _give_up_stacking(session, row, f"{row.name} {why}", now, actor)


def telescope_of_serial(session: Session, serial: str, now: datetime) -> Telescope:
    """Give the row of that serial number; a telescope known from its frames only gets one here."""
    row = _known(session, serial)
    if row is None:
        row = Telescope(
            name=_free_name(session, f"Seestar {serial}"),
            serial=serial,
            rpc_port=4700,
            http_port=80,
            smb_port=445,
            smb_share="auto",
            timezone="auto",
            state_reason="known from its frames; no address is configured",
            created_at=now,
        )
        session.add(row)
        session.flush()
    return row


def telescope_of_name(session: Session, name: str) -> Telescope | None:
    """Give the row of that name."""
    return session.scalar(select(Telescope).where(Telescope.name == name))


def adopt_serial(
    session: Session, row: Telescope, serial: str, now: datetime, *, actor: str = "stacker"
) -> Telescope:
    """Record who a configured telescope turned out to be.

    If its frames were recorded first, under a row of their own, that row takes over the configured
    name and address, and what was recorded under the placeholder; the placeholder goes.

    Returns
    -------
    Telescope
        The row that stands for the telescope from now on.
    """
    if row.serial == serial:
        return row
    known = _known(session, serial)
    audit(
        session,
        now=now,
        actor=actor,
        subject=("telescope", (known or row).id),
        event="identified",
        reason=f"{row.name} is {serial}" + (f", no longer {row.serial}" if row.serial else ""),
    )
    if known is None and row.serial is None:
        row.serial = serial
        return row
    if (
        known is None
    ):  # another telescope answers at this address: the old one keeps its frames and its serial
        known = Telescope(name=_free_name(session, f"Seestar {serial}"), serial=serial, created_at=now)
        session.add(known)
    name = row.name
    for column in (
        "host",
        "found_host",
        "rpc_port",
        "http_port",
        "smb_port",
        "smb_share",
        "key_path",
        "timezone",
        "added_at",
    ):
        setattr(known, column, getattr(row, column))
    if row.serial is None:
        hand_over(session, row, known, now)
        session.delete(row)
    else:
        row.name, row.host = _free_name(session, f"{name} (was {row.serial})"), None
        row.found_host = None
        _give_up_stacking(session, row, f"another telescope ({serial}) took its place as {name}", now, actor)
    session.flush()
    known.name = name
    session.flush()
    return known


def _give_up_stacking(session: Session, row: Telescope, why: str, now: datetime, actor: str) -> None:
    """Leave the block that a telescope was stacking to a person, since nobody can ask how far it is."""
    under_way = select(Block).where(Block.telescope_id == row.id, Block.state == BlockState.STACKING)
    for block in session.scalars(under_way).all():
        move_block(
            session,
            block,
            BlockState.FAILED,
            now=now,
            actor=actor,
            reason=f"{why}: what became of this stack is not known",
            needs_you=True,
            next_attempt_at=None,
            percent=None,
        )


def _row_of(session: Session, settings: TelescopeSettings, now: datetime) -> Telescope | None:
    named = telescope_of_name(session, settings.name)
    if settings.serial is None:
        return named
    if named is None:
        return _known(session, settings.serial)
    return adopt_serial(session, named, settings.serial, now, actor="configuration")


def _known(session: Session, serial: str) -> Telescope | None:
    return session.scalar(select(Telescope).where(Telescope.serial == serial))


def _free_name(session: Session, wanted: str) -> str:
    """Give ``wanted``, with a number behind it where another telescope is called so."""
    taken = set(session.scalars(select(Telescope.name)))
    return next(
        name
        for number in count(1)
        if (name := wanted if number == 1 else f"{wanted} ({number})") not in taken
    )


def _copy_address(settings: TelescopeSettings, row: Telescope) -> None:
    if row.host != settings.host:  # a person has said anew where it is: that counts for more than a find
        row.found_host = None
    row.name, row.host = settings.name, settings.host
    row.forgotten_at = None
    row.rpc_port, row.http_port, row.smb_port = settings.rpc_port, settings.http_port, settings.smb_port
    row.smb_share, row.timezone = settings.smb_share, settings.timezone
    row.key_path = str(settings.key_path) if settings.key_path else None
    if settings.serial is not None:
        row.serial = settings.serial
