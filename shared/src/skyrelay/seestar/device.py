"""Who a telescope is and what it is doing, read off its own words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from skyrelay.domain.states import Reach, TelescopeState
from skyrelay.seestar.errors import NotATelescope
from skyrelay.seestar.fields import Fields, JsonValue, as_number
from skyrelay.seestar.stack_run import StackRun, StackState

FULL_BELOW_MB = 200  # a stack and its pictures take 15 MB; the telescope's own work needs room beside it
CLOCK_TOLERANCE = timedelta(seconds=60)  # two clocks that agree are never farther apart
_WORKING = "working"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Who a telescope is.

    Attributes
    ----------
    serial
        Its identity, ``sn``; the address is DHCP's and changes.
    model
        ``Seestar S50``, …; empty when it does not say.
    firmware_int
        ``firmware_ver_int``, e.g. 2846; `None` when it does not say.
    firmware_text
        ``firmware_ver_string``.
    clock_local
        Naive local time of its clock at the moment of asking; `None` when it does not say.
    zone
        IANA name of its time zone, if it gives a real one.
    longitude_deg, latitude_deg
        Where it stands, somebody's home: never in a ``repr``.
    """

    serial: str
    model: str = ""
    firmware_int: int | None = None
    firmware_text: str = ""
    clock_local: datetime | None = None
    zone: str | None = None
    longitude_deg: float | None = field(default=None, repr=False)
    latitude_deg: float | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TelescopeStatus:
    """What a telescope is doing now, as far as we can say.

    Attributes
    ----------
    state, reason
        One of the named states, and why, in words for a person.
    reach
        How far it could be reached; of one that is away, whether its host answers at all.
    stage, target
        What it observes, and how far it is with that (``AutoGoto``, ``Stack``, …).
    percent, remaining_s
        Of a batch stack under way, whoever began it.
    battery_percent, charging, temperature_c, free_mb
        `None` when it does not say.
    """

    state: TelescopeState
    reason: str = ""
    stage: str = ""
    target: str = ""
    percent: float | None = None
    remaining_s: float | None = None
    battery_percent: int | None = None
    charging: bool | None = None
    temperature_c: float | None = None
    free_mb: int | None = None
    reach: Reach = Reach.ANSWERS


def read_device(device_state: JsonValue, clock: JsonValue) -> DeviceInfo:
    """Read ``get_device_state`` and ``pi_get_time``.

    Raises
    ------
    NotATelescope
        If there is no serial number in it.
    """
    state, time = Fields.of(device_state), Fields.of(clock)
    device = state.inner("device")
    serial = device.text("sn")
    if not serial:
        raise NotATelescope("it answers, but gives no serial number: is it a Seestar?")
    longitude_deg, latitude_deg = _location(state.members.get("location_lon_lat"))
    return DeviceInfo(
        serial=serial,
        model=device.text("product_model") or "",
        firmware_int=device.integer("firmware_ver_int"),
        firmware_text=device.text("firmware_ver_string") or "",
        clock_local=_clock(time),
        zone=_zone(time.text("time_zone")),
        longitude_deg=longitude_deg,
        latitude_deg=latitude_deg,
    )


def clock_error(device: DeviceInfo, now: datetime) -> timedelta | None:
    """Give by how much a telescope's clock is ahead (negative: behind); `None` when it does not tell."""
    if device.clock_local is None or device.zone is None:
        return None
    zone = ZoneInfo(device.zone)
    # When the clocks go back an hour comes twice: the telescope means the one that is now.
    readings = [device.clock_local.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    return min((reading - now for reading in readings), key=abs)


def read_status(
    device_state: JsonValue, volume: JsonValue, view_state: JsonValue, app_state: JsonValue
) -> TelescopeStatus:
    """Read ``get_device_state``, ``get_disk_volume``, ``get_view_state`` and ``iscope_get_app_state``."""
    power = Fields.of(device_state).inner("pi_status")
    app, free_mb = Fields.of(app_state), Fields.of(volume).integer("freeMB")
    view, run = Fields.of(view_state).inner("View"), StackRun.parse(app.inner("BatchStack"))
    observing, working = is_observing(view_state, app_state), run.state is StackState.WORKING
    stage = view.text("stage") or ""
    target = view.text("target_name") or "" if observing else ""
    state, reason = _state(_observation(target, stage) if observing else "", run, free_mb)
    return TelescopeStatus(
        state=state,
        reason=reason,
        stage=stage,
        target=target,
        percent=run.percent if working else None,
        remaining_s=run.remaining_s if working else None,
        battery_percent=power.integer("battery_capacity"),
        charging=_charging(power),
        temperature_c=power.number("temp"),
        free_mb=free_mb,
    )


def progress_in_words(run: StackRun) -> str:
    """Say how far a stack is: ``34 %, 40 s left``; empty where the telescope does not say."""
    parts = [] if run.percent is None else [f"{run.percent:.0f} %"]
    if run.remaining_s is not None and run.remaining_s > 0:
        parts.append(f"{run.remaining_s:.0f} s left")
    return ", ".join(parts)


def is_observing(view_state: JsonValue, app_state: JsonValue) -> bool:
    """Tell whether a view or a plan is working."""
    app = Fields.of(app_state)
    parts = (Fields.of(view_state).inner("View"), app.inner("View"), app.inner("ViewPlan"))
    return any(part.text("state") == _WORKING for part in parts)


def _state(observation: str, run: StackRun, free_mb: int | None) -> tuple[TelescopeState, str]:
    if observation:
        return TelescopeState.OBSERVING, observation
    if run.state is StackState.WORKING:
        progress = progress_in_words(run)
        return TelescopeState.STACKING, f"it is stacking ({progress})" if progress else "it is stacking"
    if free_mb is not None and free_mb < FULL_BELOW_MB:
        return TelescopeState.FULL, f"only {free_mb} MB are free on it"
    return TelescopeState.READY, "it is idle"


def _observation(target: str, stage: str) -> str:
    return f"it is observing{f' {target}' if target else ''}{f' ({stage})' if stage else ''}"


def _charging(power: Fields) -> bool | None:
    online, status = power.members.get("charge_online"), power.text("charger_status")
    if isinstance(online, bool):
        return online
    return None if status is None else status.lower() in {"charging", "full"}


def _clock(time: Fields) -> datetime | None:
    parts = [time.integer(name) for name in ("year", "mon", "day", "hour", "min", "sec")]
    numbers = [part for part in parts if part is not None]
    if len(numbers) < len(parts):
        return None
    year, month, day, hour, minute, second = numbers
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - local by definition, see clock_local
    except (ValueError, OverflowError):
        return None


def _zone(name: str | None) -> str | None:
    try:
        return ZoneInfo(name).key if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        return None


def _location(pair: JsonValue) -> tuple[float | None, float | None]:
    """Read ``[lon, lat]``, in this order."""
    if not isinstance(pair, list) or len(pair) != 2:
        return None, None
    longitude_deg, latitude_deg = as_number(pair[0]), as_number(pair[1])
    if (
        longitude_deg is None
        or latitude_deg is None
        or abs(longitude_deg) > 360.0
        or abs(latitude_deg) > 90.0
    ):
        return None, None
    return longitude_deg, latitude_deg
