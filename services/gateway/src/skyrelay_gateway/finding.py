"""Find what a caller named, or say which name is the nearest right one."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from skyrelay.store.tables import Block, Telescope
from skyrelay_gateway.problems import not_found


def find_telescope(session: Session, name: str) -> int:
    """Give the id of the telescope of that name or serial number; raise a 404 `Problem` for none."""
    found = session.scalar(
        select(Telescope.id).where(or_(Telescope.name == name, Telescope.serial == name)).limit(1)
    )
    if found is None:
        raise not_found("telescope", name, session.scalars(select(Telescope.name)))
    return found


def check_target(session: Session, target: str) -> None:
    """Raise a 404 `Problem` unless there is a block of ``target``."""
    if session.scalar(select(Block.id).where(Block.target == target).limit(1)) is None:
        raise not_found("target", target, session.scalars(select(Block.target).distinct()))
