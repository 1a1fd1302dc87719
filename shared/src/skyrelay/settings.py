"""One typed settings object: a YAML file, overlaid by the environment.

Built once in a process's ``main`` by `load_settings` and handed on; nothing else reads the
environment. A key that does not exist, or a value of the wrong kind, raises
`skyrelay.errors.ConfigurationError` with its name and the nearest right one.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import time
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeGuard, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from skyrelay.domain.asked import Asked, asked_of
from skyrelay.domain.block import BLOCK_MINUTES, check_block_minutes
from skyrelay.domain.dawn import DawnEvent
from skyrelay.domain.password_rule import weakness_of
from skyrelay.domain.quiet_hours import QuietHours
from skyrelay.errors import ConfigurationError
from skyrelay.smb_path import SCHEME, SmbPath

PREFIX = "SKYRELAY_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"  # names the YAML file where no --config is given
_SECRET_FILE_SUFFIX = "_FILE"  # noqa: S105 - the suffix of a variable's name, as Docker's images use it


def _check_zone(name: str) -> str:
    if name != "auto" and name not in available_timezones():
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        raise ValueError(f"{name!r} is no IANA time zone" + (f"; did you mean {near[0]!r}?" if near else ""))
    return name


def _check_url(url: str) -> str:
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        raise ValueError(f"{url!r} is no address: write it as https://host or http://host:port")
    return url.rstrip("/")


def _check_redis_url(url: SecretStr) -> SecretStr:
    scheme = urlsplit(url.get_secret_value()).scheme
    if url.get_secret_value() and scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("is no address of a Redis server: write it as redis://host:6379/0 or unix:///path")
    return url


Source = Literal["environment", "file", "page"]
Port = Annotated[int, Field(ge=1, le=65535)]
Zone = Annotated[str, AfterValidator(_check_zone)]
WebAddress = Annotated[str, AfterValidator(_check_url)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def _check_asked(address: str) -> str:
    """Accept a host, ``host:port`` or a network such as ``192.168.1.0/24``."""
    asked_of(address)
    return address


class TelescopeSettings(_Section):
    """One telescope; every host and port is configurable, since people forward ports."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w .-]+$")
    host: str = Field(min_length=1)
    rpc_port: Port = 4700
    http_port: Port = 80
    smb_port: Port = 445
    discovery_port: Port = 4720
    smb_share: str = "auto"
    key_path: Path | None = None
    timezone: Zone = "auto"
    serial: str | None = None


class DiscoverySettings(_Section):
    """Where telescopes are looked for beside the broadcasts, which leave no bridge network (Docker's)."""

    addresses: tuple[Annotated[str, AfterValidator(_check_asked)], ...] = ()


def _as_watch_path(value: object) -> Path | SmbPath:
    if isinstance(value, Path | SmbPath):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("is no folder: write a path, or smb://host/share/folder")
    return SmbPath.parse(value) if value.startswith(SCHEME) else Path(value)


Backend = Literal["auto", "native", "snapshot"]
WatchPath = Annotated[Path | SmbPath, PlainValidator(_as_watch_path)]


class WatchRoot(_Section):
    """A folder to watch; ``telescope`` names the one its frames belong to where their headers do not.

    What is unset of ``recursive`` and ``backend`` is as `ImageWatcherSettings` says for all.
    """

    path: WatchPath
    telescope: str | None = None
    recursive: bool | None = None
    backend: Backend | None = None


def _as_roots(value: object) -> object:
    entries = value if isinstance(value, list | tuple) else [value] if value else []
    return tuple({"path": entry} if isinstance(entry, str | Path) else entry for entry in entries)


class ImageWatcherSettings(_Section):
    """Where sub-frames appear; off by default, then inventories alone feed the pipeline."""

    enabled: bool = False
    watch_path: Annotated[tuple[WatchRoot, ...], BeforeValidator(_as_roots)] = ()
    debounce_delay: float = Field(default=2.0, ge=0.0, le=3600.0)
    recursive: bool = True
    backend: Backend = "auto"


def _as_wall_clock(value: object) -> object:
    """Read ``7:30`` as YAML 1.1 gives it when it stands without quotes: as a number of minutes."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return time(*divmod(value, 60))
    return value


class DawnSettings(_Section):
    """What ``stacking.when: dawn`` waits for; ``at`` is local, for ``event: time`` and where no sun rises."""

    event: DawnEvent = DawnEvent.SUNRISE
    offset_min: float = Field(default=30.0, ge=-720.0, le=720.0)
    at: Annotated[time, BeforeValidator(_as_wall_clock)] = time(7, 30)

    @field_validator("at")
    @classmethod
    def _is_local(cls, at: time) -> time:
        if at.tzinfo is not None:
            raise ValueError("is the wall clock's time: write it without a zone, such as 07:30")
        return at


class StackingSettings(_Section):
    """What is stacked, and when."""

    block_minutes: Annotated[int, AfterValidator(check_block_minutes)] = BLOCK_MINUTES
    min_exptime: float = Field(default=240.0, ge=0.0)
    when: Literal["idle", "dawn", "manual"] = "idle"
    dawn: DawnSettings = DawnSettings()
    max_wait_sec: float = Field(default=3600.0, gt=0.0)
    exclude: tuple[str, ...] = ()
    block_time: Literal["start", "name"] = "start"
    grace_s: float = Field(default=60.0, ge=0.0)
    idle_s: float = Field(default=120.0, ge=0.0)
    min_battery: int = Field(default=20, ge=0, le=100)


class SchedulerSettings(_Section):
    """How often we look again; events make things quick, this makes them certain."""

    reconcile_s: float = Field(default=30.0, ge=0.2)
    inventory_s: float = Field(default=300.0, ge=0.2)


def _as_spans(value: object) -> object:
    spans = value if isinstance(value, list | tuple) else [value] if value else []
    return tuple(QuietHours.parse(span) if isinstance(span, str) else span for span in spans)


class CrowdSkySettings(_Section):
    """The CrowdSky server. An unset ``scrub_location`` means: scrub."""

    enabled: bool = True
    base_url: WebAddress = "https://crowdsky.univie.ac.at"
    username: str = ""
    password: SecretStr = SecretStr("")
    scrub_location: bool | None = None
    route: Literal["stack", "raw"] = "stack"
    raw_after_h: float = Field(default=168.0, ge=0.0)
    bandwidth_limit: float = Field(default=0.0, ge=0.0)
    quiet_hours: Annotated[tuple[QuietHours, ...], BeforeValidator(_as_spans)] = ()
    confirm_s: float = Field(default=60.0, ge=0.1)
    confirm_after_h: float = Field(default=24.0, gt=0.0)

    @property
    def scrubs_location(self) -> bool:
        """Whether coordinates are removed before anything leaves the house."""
        return self.scrub_location is not False

    @property
    def prefers_raw(self) -> bool:
        """Whether blocks go to the server's own stacker, and the telescopes stack only what is asked for."""
        return self.enabled and self.route == "raw"

    @property
    def falls_back_to_raw(self) -> bool:
        """Whether a block that its telescope cannot stack goes to the server's own stacker by itself."""
        return self.enabled and self.raw_after_h > 0


Gigabytes = Annotated[float, Field(ge=0.0)]


class ArchiveSettings(_Section):
    """Where fetched stacks are kept; unset: ``archive`` under ``data_dir``.

    ``reserve_gb`` is what must stay free on the disk: one number, or one for each telescope by its name.
    0 keeps everything.
    """

    path: Path | None = None
    reserve_gb: Gigabytes | dict[str, Gigabytes] = 0.0

    def reserve_bytes(self, telescope: str) -> int:
        """Give the floor for a telescope's part of the archive, in bytes; 0: none."""
        floor = self.reserve_gb
        return int((floor.get(telescope, 0.0) if isinstance(floor, dict) else floor) * 1e9)


class ObservatorySettings(_Section):
    """The site. Its coordinates are somebody's home: they are left out of every ``repr``."""

    observer: str = ""
    latitude: float | None = Field(default=None, ge=-90.0, le=90.0, repr=False)
    longitude: float | None = Field(default=None, ge=-180.0, le=180.0, repr=False)
    elevation: float | None = Field(default=None, repr=False)
    telescope: str = "ZWO Seestar S50"
    timezone: Zone = "auto"
    share_location: Literal["exact", "0.1deg"] = "0.1deg"


class PhotometrySettings(_Section):
    """What the node tells the network about its photometry."""

    node_id: str = ""
    filter_name: str = ""


class MqttSettings(_Section):
    """The home's MQTT broker; an empty ``host``: there is none."""

    host: str = ""
    port: Port | None = None
    username: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = False
    ca_file: Path | None = None

    @property
    def port_in_use(self) -> int:
        """The port, where none is set the usual one."""
        return self.port or (8883 if self.tls else 1883)


class HomeAssistantSettings(_Section):
    """What Home Assistant is told over the broker of `MqttSettings`, and below which topics."""

    enabled: bool = False
    discovery_prefix: Annotated[str, Field(pattern=r"^[\w-]+(/[\w-]+)*$", max_length=100)] = "homeassistant"
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$", max_length=50)] = "skyrelay"

    @model_validator(mode="after")
    def _is_a_topic_of_our_own(self) -> Self:
        # Our availability, TOPIC/status, would be what Home Assistant says of itself, PREFIX/status; and with
        # PREFIX below TOPIC what it says could lie among our own, which we take away.
        if self.topic == self.discovery_prefix.partition("/")[0]:
            raise ValueError(
                f"home_assistant.topic and home_assistant.discovery_prefix both begin with {self.topic!r}, "
                "which belongs to Home Assistant: give home_assistant.topic a name of its own"
            )
        return self


def _as_urls(value: object) -> object:
    """Take one address, or several with blanks or line breaks between them, beside a list of them."""
    given = value.get_secret_value() if isinstance(value, SecretStr) else value
    return tuple(given.split()) if isinstance(given, str) else given


def _check_notification_url(url: SecretStr) -> SecretStr:
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S", url.get_secret_value()):
        raise ValueError("is no address of Apprise: write it as ntfy://host/topic or mailto://…")
    return url


NotificationUrl = Annotated[SecretStr, AfterValidator(_check_notification_url)]


class NotificationsSettings(_Section):
    """Where a person is told what cannot wait, and of what; no address: nobody is."""

    urls: Annotated[tuple[NotificationUrl, ...], BeforeValidator(_as_urls)] = ()
    receipt: bool = True
    needs_you: bool = True
    telescope_gone: bool = True


def _check_topic(topic: str) -> str:
    if any(sign in topic for sign in "+#\0") or len(topic.encode("utf-8", "replace")) > _MOST_TOPIC_BYTES:
        raise ValueError("is no topic: write one in full, without + and #")
    return topic


_MOST_TOPIC_BYTES = 65_535  # MQTT 3.1.1, section 1.5.3


class ConditionValue(_Section):
    """One value of the conditions, and its unit.

    ``path``: where it stands in the JSON of the source, or of the messages of ``topic``; a topic without a
    path carries the value alone. ``observed_at``: where the time of observation stands in its messages.
    """

    topic: Annotated[str, AfterValidator(_check_topic)] = ""
    path: str = ""
    unit: str = ""
    observed_at: str = ""

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.topic and not self.path:
            raise ValueError("say where it stands: in the source's JSON (path), or on an MQTT topic (topic)")
        if self.observed_at and not self.topic:
            raise ValueError("observed_at is for a topic; the source's is cloud.conditions.observed_at")
        return self


class ConditionsSettings(_Section):
    """Where local conditions come from beside the telescope: a ``source`` of JSON, and topics of MQTT."""

    source: str = ""
    observed_at: str = ""
    max_age_s: float = Field(default=900.0, gt=0.0)
    values: dict[str, ConditionValue] = {}

    @property
    def topics(self) -> frozenset[str]:
        """The MQTT topics that values come from."""
        return frozenset(value.topic for value in self.values.values() if value.topic)


class CloudSettings(_Section):
    """The observation network's cloud."""

    enabled: bool = False
    url: WebAddress = ""
    node_id: str = ""
    api_key: SecretStr = SecretStr("")
    heartbeat_interval: int = Field(default=60, ge=1)
    plan_poll_interval: int = Field(default=300, ge=1)
    auto_run_plans: bool = False
    upload_images: bool = False
    queue_max: int = Field(default=0, ge=0)
    telescope: str = ""
    min_altitude: float = Field(default=10.0, ge=0.0, le=90.0)
    conditions: ConditionsSettings = ConditionsSettings()


def _check_root_path(path: str) -> str:
    if path and not re.fullmatch(r"(/[\w.~-]+)+/?", path, re.ASCII):
        raise ValueError("is no path of an address: write it as /sky")
    return path.rstrip("/")


def _check_gateway_password(password: SecretStr) -> SecretStr:
    weakness = weakness_of(password.get_secret_value()) if password.get_secret_value() else None
    if weakness is not None:
        raise ValueError(weakness)
    return password


class GatewaySettings(_Section):
    """Where the gateway listens, the names it answers to, and who may speak to it.

    ``token`` is shown to the gateway by commands that do not share its ``data_dir``.
    """

    host: str = "0.0.0.0"  # noqa: S104 - it is the one port that people open
    port: Port = 8474
    hosts: tuple[str, ...] = ()
    auth: Literal["password", "none"] = "password"
    password: Annotated[SecretStr, AfterValidator(_check_gateway_password)] = SecretStr("")
    token: SecretStr = SecretStr("")
    open_metrics: bool = False
    root_path: Annotated[str, AfterValidator(_check_root_path)] = ""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


class RetentionSettings(_Section):
    """How long the history of steps and runs is kept; 0: for ever. The books themselves always are."""

    history_days: float = Field(default=1095.0, ge=0.0)


class FlowerSettings(_Section):
    """Where Flower listens; the gateway shows it at ``/flower``."""

    host: str = "127.0.0.1"
    port: Port = 5555
    url: WebAddress = "http://127.0.0.1:5555"


class Settings(BaseSettings):
    """Everything that can be configured; see ``docs/configuration.md``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    telescopes: tuple[TelescopeSettings, ...] = ()
    discovery: DiscoverySettings = DiscoverySettings()
    image_watcher: ImageWatcherSettings = ImageWatcherSettings()
    stacking: StackingSettings = StackingSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    crowdsky: CrowdSkySettings = CrowdSkySettings()
    archive: ArchiveSettings = ArchiveSettings()
    observatory: ObservatorySettings = ObservatorySettings()
    photometry: PhotometrySettings = PhotometrySettings()
    cloud: CloudSettings = CloudSettings()
    mqtt: MqttSettings = MqttSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    notifications: NotificationsSettings = NotificationsSettings()
    gateway: GatewaySettings = GatewaySettings()
    retention: RetentionSettings = RetentionSettings()
    flower: FlowerSettings = FlowerSettings()
    redis_url: Annotated[SecretStr, AfterValidator(_check_redis_url)] = SecretStr("")
    database_url: SecretStr = SecretStr("")
    data_dir: Path = Path("data")
    secret_key_file: Path | None = None
    setup: Literal["ask", "done"] = "ask"

    @model_validator(mode="after")
    def _raw_frames_are_sent_by_chunk(self) -> Self:
        chunks = self.stacking.block_minutes == BLOCK_MINUTES and self.stacking.block_time == "start"
        if self.crowdsky.prefers_raw and not chunks:
            raise ValueError(
                "crowdsky.route: raw sends CrowdSky's quarter hours, by the start of each exposure: "
                "it needs stacking.block_minutes: 15 and stacking.block_time: start"
            )
        return self

    _sources: Mapping[str, Source] = PrivateAttr(default_factory=dict)  # by key; a default has none

    @property
    def sources(self) -> Mapping[str, Source]:
        """Where the settings that are no defaults come from, by key (``stacking.when``)."""
        if self._sources:
            return self._sources
        return dict.fromkeys(given_keys(given_values(self)), "file")

    @property
    def is_set_up(self) -> bool:
        """Whether anything may be done by itself: stacked, moved, sent."""
        return self.setup == "done"

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Whom to ask for telescopes beside the broadcasts: the configured and ``discovery.addresses``."""
        named = [Asked(each.host, each.discovery_port) for each in self.telescopes]
        added = [one for address in self.discovery.addresses for one in asked_of(address)]
        return tuple(dict.fromkeys([*named, *added]))

    @property
    def archive_path(self) -> Path:
        """Folder of the archive."""
        return self.archive.path or self.data_dir / "archive"

    @property
    def key_path(self) -> Path:
        """The file with the key that secrets in the database are encrypted with."""
        return self.secret_key_file or self.data_dir / "secret.key"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database; it may hold a password."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir.resolve() / 'skyrelay.db'}"

    @property
    def redis(self) -> str:
        """URL of the Redis server; it may hold a password.

        Raises
        ------
        ConfigurationError
            If none is configured and none was started for us.
        """
        url = self.redis_url.get_secret_value()
        if not url:
            raise ConfigurationError("redis_url is empty: set it, or start the services with `skyrelay up`")
        return url

    @property
    def flower_path(self) -> str:
        """Path below which Flower answers: the one at which the gateway shows it to browsers."""
        return f"{self.gateway.root_path}/flower"

    @property
    def site_zone(self) -> ZoneInfo | None:
        """Zone of the observatory; `None` when it is to be found out."""
        return None if self.observatory.timezone == "auto" else ZoneInfo(self.observatory.timezone)

    def telescope(self, name: str) -> TelescopeSettings | None:
        """Give the settings of the telescope of that name, if it is configured."""
        return next((telescope for telescope in self.telescopes if telescope.name == name), None)


class SettingsRefused(ConfigurationError):  # noqa: N818 - what happened to them
    """Settings that cannot be used.

    Attributes
    ----------
    problems
        Each key, and what is wrong with it.
    """

    def __init__(self, problems: Iterable[tuple[str, str]], path: Path | None = None) -> None:
        self.problems = tuple(problems)
        where = f" ({path})" if path else ""
        super().__init__("\n".join(f"{key}: {problem}{where}" for key, problem in self.problems))


def load_settings(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration.

    Parameters
    ----------
    config
        The YAML file; `None` takes the one that ``SKYRELAY_CONFIG`` names, if it does.
    environ
        The environment; the process's own when not given. A variable that is empty counts as unset.

    Raises
    ------
    ConfigurationError
        If a key or value is wrong. The message names each.
    """
    environ = os.environ if environ is None else environ
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    file = _read_yaml(path) if path else {}
    around = _merged(
        _from_crowdsky_variables(environ), _merged(_from_secret_files(environ), _from_environment(environ))
    )
    sources: dict[str, Source] = dict.fromkeys(given_keys(file), "file")
    sources |= dict.fromkeys(given_keys(around), "environment")
    return build_settings(_merged(file, around), sources, path)


def build_settings(
    values: Mapping[str, Any], sources: Mapping[str, Source], path: Path | None = None
) -> Settings:
    """Check values, by section, and give the settings; the environment is not read.

    Parameters
    ----------
    values
        What is set.
    sources
        Where each comes from, by key.
    path
        The file that messages name.

    Raises
    ------
    SettingsRefused
        If a key or value is wrong. The message names each.
    """
    hidden = [(key, "there is no such setting") for key in values if key.startswith("_")]
    if hidden:  # the base class would take these for its own parameters
        raise SettingsRefused(hidden, path)
    try:
        built = _Given(**values)
    except ValidationError as error:
        raise SettingsRefused(_explain(error), path) from None  # its text may hold a secret
    built._sources = dict(sources)
    _check_names(built)
    return built


def given_values(section: BaseModel) -> dict[str, Any]:
    """Give what was set of the settings, or of a section of them, by section; no defaults."""
    given = {}
    for name in section.model_fields_set:
        value = getattr(section, name)
        is_section = _is_section(type(section).model_fields[name].annotation)
        given[name] = given_values(value) if is_section else value
    return given


def given_keys(values: Mapping[str, Any]) -> Iterator[str]:
    """Name the settings that values by section hold, each with its section's name in front."""
    for key in setting_fields():
        at: Any = values
        for part in key.split("."):
            at = at.get(part, _MISSING) if isinstance(at, Mapping) else _MISSING
        if at is not _MISSING:
            yield key


@cache
def setting_fields() -> Mapping[str, FieldInfo]:
    """Give all settings by their keys, such as ``stacking.dawn.at``; sections are none."""
    return dict(_fields_of(Settings))


_MISSING: Any = object()


class _Given(Settings):
    """Settings of given values alone."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base's
        *_: PydanticBaseSettingsSource,
        **sources: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (sources["init_settings"],)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one set of values over another, key by key."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            both[key] = _merged(under, value)
        else:
            both[key] = value
    return both


def _fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            yield from _fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or not text or name == CONFIG_VARIABLE or _names_secret_file(name):
            continue
        _put(layer, name, text if _is_text(name) else _read_value(name, text))
    return layer


def _read_value(name: str, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: is no YAML: {_yaml_place(error)}") from None


def _from_secret_files(environ: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for name, file in environ.items():
        if file and _names_secret_file(name):
            try:
                secret = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{name}: the file {file} cannot be read ({error})") from error
            _put(layer, name.removesuffix(_SECRET_FILE_SUFFIX), secret)
    return layer


def _from_crowdsky_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {"username": "CROWDSKY_USERNAME", "password": "CROWDSKY_PASSWORD"}
    found = {key: environ[name] for key, name in names.items() if environ.get(name)}
    return {"crowdsky": found} if found else {}


_SECRET_KEYS = (
    "REDIS_URL",
    "DATABASE_URL",
    "CROWDSKY__PASSWORD",
    "CROWDSKY__USERNAME",
    "CLOUD__API_KEY",
    "MQTT__USERNAME",
    "MQTT__PASSWORD",
    "GATEWAY__PASSWORD",
    "GATEWAY__TOKEN",
)
_SECRET_LIST_KEYS = ("NOTIFICATIONS__URLS",)
_TEXT_KEYS = (*_SECRET_KEYS, "CLOUD__NODE_ID", "PHOTOMETRY__NODE_ID", "OBSERVATORY__OBSERVER", "DATA_DIR")


def _names_secret_file(name: str) -> bool:
    return name in {f"{PREFIX}{key}{_SECRET_FILE_SUFFIX}" for key in (*_SECRET_KEYS, *_SECRET_LIST_KEYS)}


def _is_text(name: str) -> bool:
    """Tell the settings whose text must not be read as YAML (a password of digits stays a text)."""
    return name.removeprefix(PREFIX) in _TEXT_KEYS


def _put(layer: dict[str, Any], name: str, value: object) -> None:
    *sections, last = name.removeprefix(PREFIX).lower().split("__")
    for section in sections:
        layer = layer.setdefault(section, {})
        if not isinstance(layer, dict):
            raise ConfigurationError(f"{name}: another variable gives {section} a value as a whole")
    layer[last] = value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 45th of May; brackets by the thousand
        raise ConfigurationError(
            f"{path}: is no YAML: {_yaml_place(error)}"
        ) from None  # the text may hold a secret
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{path}: must hold sections such as `crowdsky:`, not a {type(content).__name__}"
        )
    return {str(key): value for key, value in content.items() if value is not None}


def _yaml_place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    unread = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "a value in it cannot be read"
    problem = getattr(error, "problem", None) or unread
    return f"{problem} in line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)


def _explain(error: ValidationError) -> Iterator[tuple[str, str]]:
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = _nearest_name(problem["loc"])
            yield name, "there is no such setting" + (f"; did you mean {near}?" if near else "")
        else:
            yield name, problem["msg"].removeprefix("Value error, ")


def _nearest_name(location: tuple[int | str, ...]) -> str | None:
    """Give the known name that is most like a place in the configuration; items bear their number."""
    wanted = ".".join("*" if isinstance(part, int) else part for part in location)
    known = list(_known_names(Settings))
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    if near and near[0].rpartition(".")[2] == wanted:  # of several sections that have it the first is meant
        near = [next(name for name in known if name.rpartition(".")[2] == wanted)]
    if not near:
        return None
    for number in (part for part in location if isinstance(part, int)):
        near[0] = near[0].replace("*", str(number), 1)
    return near[0].replace("*", "0")


def _known_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if _is_section(field.annotation):
            yield from _known_names(field.annotation, f"{prefix}{name}.")
        for item in filter(_is_section, get_args(field.annotation)):
            yield from _known_names(item, f"{prefix}{name}.*.")


def _is_section(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _check_names(settings: Settings) -> None:
    names = [telescope.name for telescope in settings.telescopes]
    addresses = [f"{telescope.host}:{telescope.rpc_port}" for telescope in settings.telescopes]
    serials = [telescope.serial for telescope in settings.telescopes if telescope.serial]
    for what, values in {"name": names, "serial": serials, "address": addresses}.items():
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            problem = f"the {what} {twice[0]!r} is given twice; each has its own"
            raise SettingsRefused([("telescopes", problem)])
    _check_broker(settings)
    floors = settings.archive.reserve_gb
    for name in floors if isinstance(floors, dict) else ():
        _check_telescope("archive.reserve_gb", name, names)
    if settings.cloud.telescope and names:
        _check_telescope("cloud.telescope", settings.cloud.telescope, names)
    for root in settings.image_watcher.watch_path:
        if root.telescope is not None:
            _check_telescope("image_watcher.watch_path", root.telescope, names)


def _check_telescope(key: str, name: str, names: list[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsRefused([(key, f"no telescope is named {name!r}{hint}")])


def _check_broker(settings: Settings) -> None:
    if settings.mqtt.host:
        return
    if settings.cloud.conditions.topics:
        raise SettingsRefused([("mqtt.host", "is empty, and cloud.conditions.values names topics: set it")])
    if settings.home_assistant.enabled:
        raise SettingsRefused([("mqtt.host", "is empty, and home_assistant.enabled is true: set it")])
