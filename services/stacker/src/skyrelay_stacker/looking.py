"""Look at a telescope: who it is and what it does; when it is not observing, what lies on it.

A telescope is its serial number. One that is not at its address any more is looked for, and spoken to
where it answers, until the configuration names another address or its own answers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from skyrelay.domain.states import IN_TOUCH, BlockState, Reach, TelescopeState
from skyrelay.errors import SkyrelayError, TransientError
from skyrelay.seestar.device import CLOCK_TOLERANCE, DeviceInfo, TelescopeStatus, clock_error
from skyrelay.seestar.errors import AnotherTelescope, KeyMissing, KeyRefused, NotATelescope, Unreachable
from skyrelay.seestar.stack_run import StackSetting
from skyrelay.seestar.telescope import Telescope as Seestar
from skyrelay.seestar.telescope import TelescopeAddress
from skyrelay.service import utc_now
from skyrelay.store.holding import HeldLease, held
from skyrelay.store.leases import LeaseLost
from skyrelay.store.tables import Block, Telescope
from skyrelay.store.telescopes import adopt_serial
from skyrelay_stacker.booking import files_given
from skyrelay_stacker.clocks import record_clock
from skyrelay_stacker.dawns import record_place
from skyrelay_stacker.following import find_moved
from skyrelay_stacker.inventory import take_inventory
from skyrelay_stacker.reconciling import reconcile_telescope
from skyrelay_stacker.renaming import rename_what_waits
from skyrelay_stacker.workshop import Workshop

_log = structlog.stdlib.get_logger(__name__)
# Idle means: no view and no plan working. A stack that is running is no observation.
_IDLE = frozenset(
    {TelescopeState.READY, TelescopeState.STACKING, TelescopeState.BUSY_ELSEWHERE, TelescopeState.FULL}
)
_SPOKEN_TO = IN_TOUCH | {TelescopeState.CLOCK_WRONG}
_OUT_OF_SIGHT = timedelta(minutes=15)  # longer than any task watches a stack without looking up
_NOT_DISTURBED = frozenset({TelescopeState.READY, TelescopeState.FULL, TelescopeState.CLOCK_WRONG})


# These speak of the address; the telescope may be at another.
_NOT_THERE = (Unreachable, NotATelescope)
_MAYBE_ELSEWHERE = (*_NOT_THERE, KeyMissing, KeyRefused)  # another's key says nothing about this one


def look_at_telescope(workshop: Workshop, telescope_id: int) -> None:
    """Bring the telescope's row, its frames and its blocks up to date, then nudge what is next."""
    with held(workshop.store, telescope_id, workshop.holder) as lease:
        if lease is None:
            return
        with workshop.store.read() as session:
            row = session.get(Telescope, telescope_id)
        if row is None or row.host is None:
            return
        with structlog.contextvars.bound_contextvars(telescope=row.name):
            answered_id = _look(workshop, row, lease)
    reconcile_telescope(workshop, answered_id)


def address_of(row: Telescope) -> TelescopeAddress:
    """Give the address under which a telescope's row says that it answers."""
    if row.address is None:
        raise TransientError(f"no address is known for {row.name}")
    return TelescopeAddress(
        name=row.name,
        host=row.address,
        rpc_port=row.rpc_port,
        http_port=row.http_port,
        smb_port=row.smb_port,
        smb_share=row.smb_share,
        key_path=Path(row.key_path) if row.key_path else None,
    )


def record_status(row: Telescope, status: TelescopeStatus, now: datetime) -> None:
    """Write what a telescope is doing into its row.

    One that was out of sight for long may have observed meanwhile: its idle time begins anew.
    """
    if row.last_seen_at is None or now - row.last_seen_at > _OUT_OF_SIGHT:
        row.idle_since = None
    _enter_state(row, status.state, status.reason + _moved(row), now)
    row.reach = status.reach
    if status.state in _SPOKEN_TO:
        row.last_seen_at = now
        row.battery_percent, row.charging = status.battery_percent, status.charging
        row.temperature_c = status.temperature_c
        row.free_mb = status.free_mb
    if status.state in _IDLE:
        row.idle_since = row.idle_since or now


def record_failure(row: Telescope, error: SkyrelayError, now: datetime) -> bool:
    """Write down why a telescope could not be asked, in a state of its own for each reason.

    Returns
    -------
    bool
        Whether it is the telescope's state that the error speaks of; if not, nothing is written.
    """
    state = _state_of(error)
    if state is None:
        return False
    _enter_state(row, state, str(error), now)
    row.reach = _reach_of(error)
    return True


def record_stranger(row: Telescope, serial: str, now: datetime) -> None:
    """Write down that another telescope answers at the address; the next look says who is who."""
    record_failure(row, AnotherTelescope(serial), now)
    row.next_look_at = now


def _moved(row: Telescope) -> str:
    """Say that a telescope is not where the configuration says, for as long as that is so."""
    if row.found_host is None:
        return ""
    return f"; it answers at {row.found_host}, while telescopes[{row.name}].host says {row.host}"


def _enter_state(row: Telescope, state: TelescopeState, reason: str, now: datetime) -> None:
    if row.state != state:
        row.state_since = now
    row.state, row.state_reason = state, reason
    if state not in _IDLE:
        row.idle_since = None


def _look(workshop: Workshop, row: Telescope, lease: HeldLease) -> int:
    """Look, as far as it goes; give the id of the row that stands for who answered."""
    try:
        with ExitStack() as opened:
            seestar, found_id, wants_inventory = _meet(workshop, row, opened)
            if found_id != row.id:
                return found_id
            if wants_inventory:
                lease.check()
                take_inventory(workshop, row.id, seestar, lease)
                if workshop.may_act:
                    rename_what_waits(workshop, row.id, seestar, lease)
    except LeaseLost as error:
        _log.warning("left to another worker", problem=str(error))
    except SkyrelayError as error:
        _log.warning("the telescope could not be asked", problem=str(error))
        with workshop.store.write() as session:
            failed = session.get_one(Telescope, row.id)
            if not record_failure(failed, error, utc_now()):
                failed.inventory_error = str(error)
            failed.looked_at = utc_now()
            failed.next_look_at = utc_now() + _between_looks(workshop)
    return row.id


def _meet(workshop: Workshop, row: Telescope, opened: ExitStack) -> tuple[Seestar, int, bool]:
    """Greet the telescope where it is; raises what its own address says when it is found nowhere else."""
    failure: SkyrelayError | None = None
    for host in _possible_hosts(workshop, row):
        seestar = opened.enter_context(Seestar(replace(address_of(row), host=host)))
        try:
            return (seestar, *_greet(workshop, row.id, seestar))
        except _MAYBE_ELSEWHERE as error:
            failure = failure or error
    if isinstance(failure, AnotherTelescope) and _takes_its_place(workshop, row, failure.serial):
        seestar = opened.enter_context(Seestar(address_of(row)))
        return (seestar, *_greet(workshop, row.id, seestar, whoever=True))
    raise failure or TransientError(f"no address is known for {row.name}")


def _possible_hosts(workshop: Workshop, row: Telescope) -> Iterator[str]:
    """Give where it was last, where it is configured, and, after these have failed, where it answers now."""
    tried = [host for host in dict.fromkeys((row.found_host, row.host)) if host is not None]
    yield from tried
    moved = find_moved(workshop.settings, row, tried)
    if moved is not None:
        _log.info("it answers at another address", host=moved, configured=row.host)
        yield moved


def _takes_its_place(workshop: Workshop, row: Telescope, serial: str) -> bool:
    """Tell whether the telescope that answers now may be a new one in the old one's place.

    Not where the configuration insists on the serial number, nor where it has the other one elsewhere.
    """
    if any(each.serial == row.serial for each in workshop.settings.telescopes):
        return False
    with workshop.store.read() as session:
        other = session.scalar(select(Telescope).where(Telescope.serial == serial))
    return other is None or other.host is None


def _greet(
    workshop: Workshop, telescope_id: int, seestar: Seestar, *, whoever: bool = False
) -> tuple[int, bool]:
    """Record who answers and what it is doing; give its row's id and whether an inventory is welcome.

    Raises
    ------
    AnotherTelescope
        If it is another telescope than the row's, unless ``whoever`` is there is welcome.
    """
    device = seestar.identify()
    status = seestar.state()
    setting = seestar.stack_files_now() if status.state is TelescopeState.STACKING else None
    now = utc_now()
    with workshop.store.write() as session:
        meant = session.get_one(Telescope, telescope_id)
        if meant.serial not in {None, device.serial} and not whoever:
            raise AnotherTelescope(device.serial)
        found = adopt_serial(session, meant, device.serial, now)
        found.found_host = None if seestar.address.host == found.host else seestar.address.host
        found.model, found.firmware_int, found.firmware = (
            device.model,
            device.firmware_int,
            device.firmware_text,
        )
        record_clock(session, found, device, now)
        record_place(found, device)
        status = with_clock(with_owner(session, found, status, setting), device, now)
        record_status(found, status, now)
        found.looked_at = now
        # Under a lease on another row than the telescope's own nothing more is done: its own look comes next.
        found.next_look_at = now + _between_looks(workshop) if found.id == telescope_id else now
        return found.id, _wants_inventory(session, found, workshop, now)


def with_owner(
    session: Session, row: Telescope, status: TelescopeStatus, setting: StackSetting | None
) -> TelescopeStatus:
    """Say ``busy elsewhere`` where a stack is under way that no block of ours waits for.

    Parameters
    ----------
    setting
        The files that the telescope says it stacks; `None` when it does not say, and is believed to
        stack ours if we have a block under way.
    """
    if status.state is not TelescopeState.STACKING:
        return status
    query = select(Block).where(Block.telescope_id == row.id, Block.state == BlockState.STACKING)
    ours = [frozenset(files_given(block)) for block in session.scalars(query)]
    if ours and (setting is None or setting.file_names in ours):
        return status
    what = "" if setting is None else f" {len(setting.file_names)} frames in {setting.folder or 'a folder'}"
    words = status.reason.replace("it is stacking", f"somebody else has it stack{what}")
    return replace(status, state=TelescopeState.BUSY_ELSEWHERE, reason=words)


def with_clock(status: TelescopeStatus, device: DeviceInfo, now: datetime) -> TelescopeStatus:
    """Say ``clock wrong`` where the telescope's clock and this server's are more than a minute apart."""
    error = clock_error(device, now)
    if error is None or abs(error) <= CLOCK_TOLERANCE or device.zone is None:
        return status
    zone = ZoneInfo(device.zone)
    reason = (
        f"its clock says {device.clock_local:%Y-%m-%d %H:%M:%S} ({device.zone}), this server's "
        f"{now.astimezone(zone):%Y-%m-%d %H:%M:%S}: one of them is wrong; nothing is stacked until they agree"
    )
    return replace(status, state=TelescopeState.CLOCK_WRONG, reason=reason)


def _wants_inventory(session: Session, row: Telescope, workshop: Workshop, now: datetime) -> bool:
    """An inventory waits for nothing but disturbs nobody; collecting blocks cannot do without one."""
    if row.state not in _NOT_DISTURBED:
        return False
    every = timedelta(seconds=workshop.settings.scheduler.inventory_s)
    if row.inventory_started_at is None or now - row.inventory_started_at >= every:
        return True
    if row.inventory_asked_at is not None and row.inventory_asked_at > row.inventory_started_at:
        return True
    collecting = exists().where(Block.telescope_id == row.id, Block.state == BlockState.COLLECTING)
    return bool(session.scalar(select(collecting)))


def _state_of(error: SkyrelayError) -> TelescopeState | None:
    if isinstance(error, KeyMissing):
        return TelescopeState.KEY_MISSING
    if isinstance(error, KeyRefused):
        return TelescopeState.KEY_REFUSED
    return TelescopeState.UNREACHABLE if isinstance(error, _NOT_THERE) else None


def _reach_of(error: SkyrelayError) -> Reach:
    if isinstance(error, Unreachable):
        return error.reach
    return Reach.ANSWERS if isinstance(error, KeyMissing | KeyRefused) else Reach.STRANGER


def _between_looks(workshop: Workshop) -> timedelta:
    return timedelta(seconds=workshop.settings.scheduler.reconcile_s)
