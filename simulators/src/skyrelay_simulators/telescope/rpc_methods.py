"""The telescope's RPC methods: one small function each, and the table that names them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

from skyrelay_simulators.telescope.batch_stack import StackSetting
from skyrelay_simulators.telescope.device import Device
from skyrelay_simulators.telescope.emmc import MY_WORKS, PAGE_SIZE, NotOnEmmcError
from skyrelay_simulators.telescope.firmware import Firmware
from skyrelay_simulators.telescope.keys import is_signed, new_challenge
from skyrelay_simulators.telescope.observation import Activity, View
from skyrelay_simulators.telescope.rpc_codes import Code, RpcError

_DONE = 0  # the result of a command that has nothing to say


@dataclass(slots=True)
class Session:
    """What the telescope knows of one connection."""

    name: str
    verified: bool = False
    challenge: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to its method."""

    device: Device
    session: Session
    params: Any

    @property
    def fields(self) -> dict[str, Any]:
        """The parameters of a method that takes named ones; raises `RpcError`."""
        if isinstance(self.params, dict):
            return self.params
        if isinstance(self.params, list) and self.device.firmware.refuses_verify_in_params:
            raise RpcError(Code.LIST_PARAMS_REFUSED)
        raise RpcError(Code.BAD_PARAMETER)

    def text(self, key: str) -> str:
        """A text among the named parameters; raises `RpcError`."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise RpcError(Code.BAD_PARAMETER)
        return value


Handler = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """A method, whether it may be called before the handshake, and which firmware has it."""

    handler: Handler
    before_handshake: bool = False
    exists: Callable[[Firmware], bool] = lambda _firmware: True


def ping(_call: Call) -> str:
    """Answer a ping."""
    return "server connected!"


def scan_iscope(call: Call) -> dict[str, Any]:
    """Say who this is, as the discovery port does."""
    return introduce(call.device)


def introduce(device: Device) -> dict[str, Any]:
    """Give what a telescope answers to whoever looks for one."""
    return {
        "sn": device.spec.serial,
        "product_model": device.spec.model,
        "ssid": device.spec.telescop,
        "tcp_client_num": device.clients,
        "connect_lock": False,
        "is_verified": True,
    }


# --- authentication ---


def get_verify_str(call: Call) -> dict[str, str]:
    """Set a challenge; an empty one where no key is wanted."""
    call.session.challenge = new_challenge() if call.device.wants_key else ""
    return {"str": call.session.challenge}


def verify_client(call: Call) -> int:
    """Check the signature of the challenge; a challenge is good for one try."""
    challenge, call.session.challenge = call.session.challenge, ""
    public_pem = call.device.spec.public_key_pem
    if not challenge or call.text("data") != challenge:
        raise RpcError(Code.FAIL_TO_OPERATE)
    if public_pem is None or call.device.refuses_keys:
        raise RpcError(Code.FAIL_TO_OPERATE)
    if not is_signed(challenge, call.text("sign"), public_pem):
        raise RpcError(Code.FAIL_TO_OPERATE)
    call.session.verified = True
    return _DONE


def pi_is_verified(call: Call) -> bool:
    """Say whether this connection has authenticated."""
    if call.device.wants_key and not call.session.verified:
        raise RpcError(Code.NOT_VERIFIED)
    return True


# --- state ---


def get_device_state(call: Call) -> dict[str, Any]:
    """Give the parts asked for by ``keys``, or all of them."""
    keys = call.fields.get("keys") if call.params else None
    state = _device_state(call.device)
    return {key: part for key, part in state.items() if not keys or key in keys}


def _device_state(device: Device) -> dict[str, Any]:
    volume = {"name": "emmc", "state": "mounted", **get_volume(device)}
    observing = device.observation.busy
    return {
        "device": {
            "name": "ASI AIR imager",
            "firmware_ver_int": device.firmware.number,
            "firmware_ver_string": device.firmware.version,
            "is_verified": True,
            "sn": device.spec.serial,
            "product_model": device.spec.model,
            "user_product_model": device.spec.model,
            "focal_len": 250.0,
            "fnumber": 5.0,
        },
        "location_lon_lat": get_location(device),
        "pi_status": device.power.to_json(),
        "storage": {
            "connected_storage": ["emmc"],
            "cur_storage": "emmc",
            "storage_volume": [volume],
        },
        "mount": {"move_type": "none", "close": not observing, "tracking": observing, "equ_mode": False},
    }


def get_location(device: Device) -> list[float]:
    """Give longitude and latitude, in this order."""
    return [device.spec.longitude_deg, device.spec.latitude_deg]


def get_user_location(call: Call) -> list[float]:
    """Give longitude and latitude, in this order."""
    return get_location(call.device)


def get_view_state(call: Call) -> dict[str, Any]:
    """Say what the telescope is looking at."""
    return {"View": call.device.observation.view.to_json()}


def iscope_get_app_state(call: Call) -> dict[str, Any]:
    """Give everything that runs or ran: the view, the plan, the batch stack."""
    state: dict[str, Any] = {"View": call.device.observation.view.to_json()}
    if (plan := call.device.observation.plan) is not None:
        state["ViewPlan"] = plan
    if (stack := call.device.batch_stack.status) is not None:
        state["BatchStack"] = stack.to_json()
    return state


def get_disk_volume(call: Call) -> dict[str, int]:
    """Give the eMMC's size and what is free."""
    return get_volume(call.device)


def get_volume(device: Device) -> dict[str, int]:
    """Give the eMMC's size and what is free, in MB."""
    volume = device.volume()
    return {"totalMB": volume.total_mb, "freeMB": volume.free_mb}


def pi_get_time(call: Call) -> dict[str, Any]:
    """Read the wall clock: local time and the zone's IANA name."""
    shown = call.device.wall_clock.now_local()
    return {
        "year": shown.year,
        "mon": shown.month,
        "day": shown.day,
        "hour": shown.hour,
        "min": shown.minute,
        "sec": shown.second,
        "time_zone": call.device.wall_clock.zone_name,
    }


def pi_set_time(call: Call) -> int:
    """Set the wall clock: a list of one set of fields as `pi_get_time` gives."""
    match call.params:
        case [
            {"year": year, "mon": mon, "day": day, "hour": hour, "min": minute, "sec": sec, "time_zone": zone}
        ]:
            _set_clock(call.device, (year, mon, day, hour, minute, sec), zone)
        case _:
            raise RpcError(Code.BAD_PARAMETER)
    return _DONE


def _set_clock(device: Device, parts: tuple[Any, ...], zone: Any) -> None:
    try:
        shown_local = datetime(*parts)  # noqa: DTZ001 - the protocol's time is local, its zone beside it
        device.wall_clock.set_local(shown_local, str(zone))
    except (TypeError, ValueError, ZoneInfoNotFoundError) as error:
        raise RpcError(Code.BAD_PARAMETER) from error


# --- observing ---


def iscope_start_view(call: Call) -> int:
    """Begin to observe; the position is in decimal hours and degrees."""
    fields = call.fields
    ra_hours, dec_deg = _position(fields.get("target_ra_dec"))
    view = View(
        Activity.WORKING,
        "ContinuousExposure",
        str(fields.get("mode", "star")),
        str(fields.get("target_name", "Unknown")),
        ra_hours,
        dec_deg,
        bool(fields.get("lp_filter", False)),
    )
    call.device.observation.begin(view)
    return _DONE


def _position(pair: Any) -> tuple[float, float]:
    match pair:
        case None | [None, None]:
            return (0.0, 0.0)
        case [int() | float() as ra_hours, int() | float() as dec_deg]:
            return (float(ra_hours), float(dec_deg))
    raise RpcError(Code.BAD_PARAMETER)


def iscope_stop_view(call: Call) -> int:
    """Stop observing; a named stage is all the same to us."""
    call.device.observation.end()
    return _DONE


def set_view_plan(call: Call) -> int:
    """Take a plan for the night and begin to work on it."""
    call.device.observation.begin_plan(call.fields)
    return _DONE


def stop_func(call: Call) -> int:
    """Stop what is named; only ``ViewPlan`` is known here."""
    if call.text("name") != "ViewPlan":
        raise RpcError(Code.BAD_PARAMETER)
    call.device.observation.end_plan()
    return _DONE


# --- files ---


def get_albums(call: Call) -> dict[str, Any]:
    """List the folders of MyWorks, less those that this telescope forgets."""
    return call.device.emmc.albums(call.device.hidden_folders)


def get_img_file_page_number(call: Call) -> int:
    """Point the telescope's one cursor at a folder and give its number of pages."""
    try:
        entries = call.device.emmc.listing(call.text("dir"), skip_videos=bool(call.fields.get("skip_avi")))
    except NotOnEmmcError as error:
        raise RpcError(Code.BAD_PARAMETER) from error
    call.device.cursor.entries = tuple(entries)
    call.device.cursor.path = call.text("dir")
    return -(-len(entries) // PAGE_SIZE)


def list_elsewhere(device: Device, folder: str = "") -> None:
    """Move the one cursor as another client's listing does: to ``folder``, else to the next in MyWorks."""
    path = folder or _next_folder(device)
    with contextlib.suppress(NotOnEmmcError):
        device.cursor.entries = tuple(device.emmc.listing(path, skip_videos=False))
        device.cursor.path = path


def _next_folder(device: Device) -> str:
    folders = [f"{MY_WORKS}/{entry['name']}" for entry in device.emmc.listing(MY_WORKS, skip_videos=True)]
    later = [path for path in folders if path > device.cursor.path.strip("/")]
    return (later or folders or [MY_WORKS])[0]


def get_img_file_page_name(call: Call) -> list[dict[str, Any]]:
    """Give a page of wherever the cursor points: whoever moved it last decided."""
    page = call.fields.get("page")
    if not isinstance(page, int) or page < 0:
        raise RpcError(Code.BAD_PARAMETER)
    return list(call.device.cursor.entries[page * PAGE_SIZE : (page + 1) * PAGE_SIZE])


# --- batch stacking ---


def clear_batch_stack(call: Call) -> int:
    """Forget the last result."""
    if not call.device.batch_stack.clear():
        raise RpcError(Code.FAIL_TO_OPERATE)
    return _DONE


def clear_app_state(call: Call) -> int:
    """Forget the last result of what is named; only ``BatchStack`` is known here."""
    if call.text("name") != "BatchStack":
        raise RpcError(Code.BAD_PARAMETER)
    return clear_batch_stack(call)


def set_batch_stack_setting(call: Call) -> int:
    """Choose the frames to stack; refused (guessed) while a stack is being made."""
    match call.fields:
        case {"path": str() as path, "files": list() as files}:
            setting = StackSetting(path, tuple(_file_name(file) for file in files))
        case _:
            raise RpcError(Code.BAD_PARAMETER)
    if not call.device.batch_stack.set(setting):
        raise RpcError(Code.FAIL_TO_OPERATE)
    return _DONE


def _file_name(file: Any) -> str:
    match file:
        case {"name": str() as name}:
            return name
    raise RpcError(Code.BAD_PARAMETER)


def get_batch_stack_setting(call: Call) -> dict[str, Any]:
    """Read the chosen frames back."""
    return call.device.batch_stack.setting.to_json()


def start_batch_stack(call: Call) -> int:
    """Begin to stack; refused while observing or while another stack is being made."""
    if call.device.observation.busy or not call.device.batch_stack.start():
        raise RpcError(Code.FAIL_TO_OPERATE)
    return _DONE


def stop_batch_stack(call: Call) -> int:
    """Abort the stack that is being made, if any."""
    call.device.batch_stack.cancel()
    return _DONE


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "test_connection": Method(ping, before_handshake=True),
        "scan_iscope": Method(scan_iscope, before_handshake=True),
        "get_verify_str": Method(get_verify_str, before_handshake=True, exists=lambda fw: fw.authenticates),
        "verify_client": Method(verify_client, before_handshake=True, exists=lambda fw: fw.authenticates),
        "pi_is_verified": Method(pi_is_verified, before_handshake=True),
        "get_device_state": Method(get_device_state),
        "get_user_location": Method(get_user_location),
        "get_view_state": Method(get_view_state),
        "iscope_get_app_state": Method(iscope_get_app_state),
        "get_disk_volume": Method(get_disk_volume),
        "pi_get_time": Method(pi_get_time),
        "pi_set_time": Method(pi_set_time),
        "iscope_start_view": Method(iscope_start_view),
        "iscope_stop_view": Method(iscope_stop_view),
        "set_view_plan": Method(set_view_plan),
        "stop_func": Method(stop_func),
        "get_albums": Method(get_albums),
        "get_img_file_page_number": Method(get_img_file_page_number),
        "get_img_file_page_name": Method(get_img_file_page_name),
        "clear_batch_stack": Method(clear_batch_stack, exists=lambda fw: fw.clears_batch_stack),
        "clear_app_state": Method(clear_app_state),
        "set_batch_stack_setting": Method(set_batch_stack_setting),
        "get_batch_stack_setting": Method(get_batch_stack_setting),
        "start_batch_stack": Method(start_batch_stack),
        "stop_batch_stack": Method(stop_batch_stack),
    }
)


def answer(device: Device, session: Session, method_name: str, params: Any) -> Any:
    """Carry out one request and give its result; raises `RpcError`."""
    method = METHODS.get(method_name)
    if method is None or not method.exists(device.firmware):
        raise RpcError(Code.METHOD_NOT_FOUND)
    if device.wants_key and not session.verified and not method.before_handshake:
        raise RpcError(Code.NOT_VERIFIED)
    _check_verify(device.firmware, params)
    return method.handler(Call(device, session, params))


def _check_verify(firmware: Firmware, params: Any) -> None:
    """Refuse a ``verify`` inside the parameters, where the firmware does."""
    if not firmware.refuses_verify_in_params:
        return
    if isinstance(params, dict) and "verify" in params:
        raise RpcError(Code.VERIFY_IN_PARAMS)
    if isinstance(params, list) and any(part == "verify" or _names_verify(part) for part in params):
        raise RpcError(Code.LIST_PARAMS_REFUSED)


def _names_verify(part: Any) -> bool:
    return isinstance(part, dict) and "verify" in part
