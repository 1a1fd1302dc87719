"""The configuration: one file overlaid by the environment; what is wrong is named, what is secret is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from skyrelay.errors import ConfigurationError
from skyrelay.settings import Settings, WatchRoot, load_settings
from skyrelay.smb_path import SmbPath

_GARDEN = {"name": "garden", "host": "192.0.2.7"}


def load(tmp_path: Path, content: object, **environ: str) -> Settings:
    """Load a configuration file of that content, under that environment and nothing else."""
    config = tmp_path / "config.yaml"
    config.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return load_settings(config, environ)


def problem(tmp_path: Path, content: object, **environ: str) -> str:
    """Give the message with which a configuration is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, content, **environ)
    return str(caught.value)


def test_nothing_configured_is_a_configuration() -> None:
    settings = load_settings(None, {})
    assert settings.telescopes == ()
    assert settings.setup == "ask"
    assert settings.stacking.block_minutes == 15
    assert settings.stacking.min_exptime == 240.0
    assert not settings.image_watcher.enabled
    assert settings.crowdsky.scrubs_location
    assert settings.gateway.port == 8474
    assert settings.site_zone is None


@pytest.mark.parametrize("content", ["", "\n# nothing yet\n", "{}", "crowdsky:\n"])
def test_an_empty_file_configures_nothing(tmp_path: Path, content: str) -> None:
    assert load(tmp_path, content).model_dump() == load_settings(None, {}).model_dump()


def test_the_file_is_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {
            "telescopes": [{**_GARDEN, "rpc_port": 14700, "timezone": "Europe/Vienna"}],
            "stacking": {"block_minutes": 5, "when": "manual", "exclude": ["Moon", "mosaic_*"]},
            "observatory": {"timezone": "America/New_York"},
        },
    )
    garden = settings.telescope("garden")
    assert garden is not None
    assert (garden.host, garden.rpc_port, garden.http_port, garden.timezone) == (
        "192.0.2.7", 14700, 80, "Europe/Vienna",
    )  # fmt: skip
    assert settings.telescope("roof") is None
    assert (settings.stacking.block_minutes, settings.stacking.exclude) == (5, ("Moon", "mosaic_*"))
    assert settings.site_zone == ZoneInfo("America/New_York")


def test_the_environment_wins_key_by_key(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {"stacking": {"min_exptime": 100, "grace_s": 7}, "setup": "ask"},
        SKYRELAY_STACKING__MIN_EXPTIME="300",
        SKYRELAY_STACKING__EXCLUDE="[Moon, Sun]",
        SKYRELAY_SETUP="done",
        SKYRELAY_TELESCOPES="[{name: garden, host: 192.0.2.7}]",
    )
    assert (settings.stacking.min_exptime, settings.stacking.grace_s) == (300.0, 7.0)
    assert settings.stacking.exclude == ("Moon", "Sun")
    assert settings.setup == "done"
    assert [telescope.name for telescope in settings.telescopes] == ["garden"]


def test_the_environment_names_the_file_where_nobody_else_does(tmp_path: Path) -> None:
    named, given = tmp_path / "named.yaml", tmp_path / "given.yaml"
    named.write_text("setup: done", encoding="utf-8")
    given.write_text("stacking: {grace_s: 7}", encoding="utf-8")
    environ = {"SKYRELAY_CONFIG": str(named)}
    assert load_settings(None, environ).setup == "done"
    assert load_settings(given, environ).setup == "ask"


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {"crowdsky": {"password": "from the file"}, "stacking": {"grace_s": 7}},
        SKYRELAY_CROWDSKY__PASSWORD="",
        SKYRELAY_STACKING__GRACE_S="",
        SKYRELAY_CLOUD__API_KEY_FILE="",
        SKYRELAY_CONFIG="",
        CROWDSKY_USERNAME="",
    )
    assert settings.crowdsky.password.get_secret_value() == "from the file"
    assert settings.stacking.grace_s == 7.0


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass: word\n", encoding="utf-8")
    settings = load(
        tmp_path,
        {"crowdsky": {"username": "me", "password": "old"}},
        SKYRELAY_CROWDSKY__PASSWORD_FILE=str(secret),
        SKYRELAY_DATABASE_URL_FILE=str(secret),
    )
    assert settings.crowdsky.password.get_secret_value() == "pass: word"
    assert settings.crowdsky.username == "me"
    assert settings.database == "pass: word"


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    message = problem(tmp_path, {}, SKYRELAY_CROWDSKY__PASSWORD_FILE=str(tmp_path / "nowhere"))
    assert "SKYRELAY_CROWDSKY__PASSWORD_FILE" in message
    assert "nowhere" in message


def test_crowdskys_own_variables_are_honoured(tmp_path: Path) -> None:
    environ = {"CROWDSKY_USERNAME": "them", "CROWDSKY_PASSWORD": "0123"}
    settings = load(tmp_path, {"crowdsky": {"username": "me", "password": "old"}}, **environ)
    assert settings.crowdsky.username == "them"
    assert settings.crowdsky.password.get_secret_value() == "0123"
    ours = load(tmp_path, {}, **environ, SKYRELAY_CROWDSKY__USERNAME="us")
    assert (ours.crowdsky.username, ours.crowdsky.password.get_secret_value()) == ("us", "0123")


@pytest.mark.parametrize("text", ["00123", "yes", "null", "1e3", "[a", "a: b", "2025-03-27"])
def test_a_secret_in_the_environment_is_a_text_whatever_it_looks_like(tmp_path: Path, text: str) -> None:
    settings = load(
        tmp_path,
        {},
        SKYRELAY_CROWDSKY__PASSWORD=text,
        SKYRELAY_CLOUD__API_KEY=text,
        SKYRELAY_CLOUD__NODE_ID=text,
    )
    assert settings.crowdsky.password.get_secret_value() == text
    assert settings.cloud.api_key.get_secret_value() == text
    assert settings.cloud.node_id == text


@pytest.mark.parametrize(
    ("content", "wrong", "right"),
    [
        ({"telescope": []}, "telescope", "telescopes"),
        ({"crowdsky": {"pasword": "x"}}, "crowdsky.pasword", "crowdsky.password"),
        ({"crowdsky": {"user": "x"}}, "crowdsky.user", "crowdsky.username"),
        ({"username": "x"}, "username", "crowdsky.username"),
        ({"stacking": {"blockminutes": 5}}, "stacking.blockminutes", "stacking.block_minutes"),
        ({"image-watcher": {}}, "image-watcher", "image_watcher"),
        ({"telescopes": [{**_GARDEN, "hots": "x"}]}, "telescopes.0.hots", "telescopes.0.host"),
        (
            {"telescopes": [_GARDEN, {"name": "roof", "host": "x", "rpcport": 1}]},
            "telescopes.1.rpcport",
            "telescopes.1.rpc_port",
        ),
        (
            {"image_watcher": {"watch_path": ["/a", {"path": "/b", "telescop": "garden"}]}},
            "image_watcher.watch_path.1.telescop",
            "image_watcher.watch_path.1.telescope",
        ),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest_right_one(
    tmp_path: Path, content: object, wrong: str, right: str
) -> None:
    message = problem(tmp_path, content)
    assert f"{wrong}: there is no such setting; did you mean {right}? ({tmp_path / 'config.yaml'})" in message


def test_a_wrong_key_that_is_like_no_other_is_named_alone(tmp_path: Path) -> None:
    where = tmp_path / "config.yaml"
    assert problem(tmp_path, {"zzzzzz": 1}) == f"zzzzzz: there is no such setting ({where})"


def test_a_wrong_variable_is_named_too(tmp_path: Path) -> None:
    assert "did you mean stacking.grace_s?" in problem(tmp_path, {}, SKYRELAY_STACKING__GRACE="7")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    message = problem(tmp_path, {"setup": "maybe", "stacking": {"grace_s": -1, "min_battery": "full"}})
    lines = message.splitlines()
    assert len(lines) == 3
    for name in ("setup", "stacking.grace_s", "stacking.min_battery"):
        assert any(line.startswith(f"{name}: ") for line in lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"stacking": {"block_minutes": 7}}, "stacking.block_minutes: 7 is no block length"),
        (
            {"crowdsky": {"route": "raw"}, "stacking": {"block_minutes": 5}},
            "crowdsky.route: raw sends CrowdSky's quarter hours",
        ),
        ({"crowdsky": {"route": "raw"}, "stacking": {"block_time": "name"}}, "stacking.block_time: start"),
        ({"stacking": {"when": "dusk"}}, "stacking.when: "),
        ({"stacking": {"grace_s": float("inf")}}, "stacking.grace_s: Input should be a finite number"),
        ({"stacking": {"min_exptime": float("nan")}}, "stacking.min_exptime: "),
        ({"telescopes": [{**_GARDEN, "rpc_port": 70000}]}, "telescopes.0.rpc_port: "),
        ({"telescopes": [{"name": "garden"}]}, "telescopes.0.host: Field required"),
        ({"telescopes": [{**_GARDEN, "name": "../x"}]}, "telescopes.0.name: "),
        ({"telescopes": _GARDEN}, "telescopes: "),
        ({"telescopes": [_GARDEN, _GARDEN]}, "the name 'garden' is given twice"),
        ({"observatory": {"timezone": "Europe/Viena"}}, "did you mean 'Europe/Vienna'?"),
        ({"observatory": {"latitude": 91}}, "observatory.latitude: "),
        ({"crowdsky": {"base_url": "crowdsky.example"}}, "write it as https://host"),
        ({"crowdsky": {"base_url": "ftp://crowdsky.example"}}, "write it as https://host"),
        ({"crowdsky": "https://crowdsky.example"}, "crowdsky: "),
        (
            {
                "telescopes": [_GARDEN],
                "image_watcher": {"watch_path": [{"path": "/a", "telescope": "gardn"}]},
            },
            "no telescope is named 'gardn'; did you mean 'garden'?",
        ),
    ],
)
def test_a_wrong_value_is_named_with_the_reason(tmp_path: Path, content: object, said: str) -> None:
    assert said in problem(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "must hold sections such as `crowdsky:`, not a list"),
        ("text", "must hold sections such as `crowdsky:`, not a str"),
        ("crowdsky: {password: 's3cret", "is no YAML"),
        ("a: b\n\tc: d", "in line 2, column 1"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str, said: str) -> None:
    message = problem(tmp_path, content)
    assert said in message
    assert str(tmp_path / "config.yaml") in message
    assert "s3cret" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read") as caught:
            load_settings(path, {})
        assert str(path) in str(caught.value)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is no YAML"):
        load_settings(binary, {})


def test_a_variable_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    message = problem(tmp_path, {}, SKYRELAY_STACKING__EXCLUDE="[Moon")
    assert message.startswith("SKYRELAY_STACKING__EXCLUDE: is no YAML")


def test_a_section_given_as_a_whole_and_in_part_is_refused(tmp_path: Path) -> None:
    message = problem(tmp_path, {}, SKYRELAY_STACKING="none", SKYRELAY_STACKING__GRACE_S="7")
    assert message == "SKYRELAY_STACKING__GRACE_S: another variable gives stacking a value as a whole"


@pytest.mark.parametrize(
    "content",
    [
        {"crowdsky": {"password": ["s3cret"]}},
        {"crowdsky": {"password": "s3cret", "pasword": "s3cret"}},
        {"cloud": {"api_key": {"key": "s3cret"}}},
        {"database_url": ["s3cret"]},
        {"s3cret": 1, "crowdsky": {"username": ["s3cret"]}, "redis_url": 3} | {"s3cret": "s3cret"},
    ],
)
def test_no_value_that_might_be_secret_is_repeated(tmp_path: Path, content: dict[str, Any]) -> None:
    assert "s3cret" not in problem(tmp_path, content).replace("s3cret: there is no such setting", "")


def test_no_secret_and_no_home_stands_in_a_repr(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {
            "crowdsky": {"username": "me", "password": "s3cret"},
            "cloud": {"api_key": "s3cret"},
            "database_url": "postgresql://me:s3cret@db/skyrelay",
            "redis_url": "redis://:s3cret@redis",
            "observatory": {"latitude": 48.654321, "longitude": 16.123456, "elevation": 171.5},
        },
    )
    shown = f"{settings!r} {settings}"
    assert "s3cret" not in shown
    assert not any(number in shown for number in ("48.65", "16.12", "171.5"))
    assert settings.redis == "redis://:s3cret@redis"
    assert settings.database == "postgresql://me:s3cret@db/skyrelay"


@pytest.mark.parametrize(
    ("written", "roots"),
    [
        ("/photos", (WatchRoot(path=Path("/photos")),)),
        (["/a", "/b"], (WatchRoot(path=Path("/a")), WatchRoot(path=Path("/b")))),
        (
            [{"path": "/a", "telescope": "garden"}, "/b"],
            (WatchRoot(path=Path("/a"), telescope="garden"), WatchRoot(path=Path("/b"))),
        ),
        ({"path": "/a"}, (WatchRoot(path=Path("/a")),)),
        (
            {"path": "/a", "backend": "snapshot", "recursive": False},
            (WatchRoot(path=Path("/a"), backend="snapshot", recursive=False),),
        ),
        ("smb://nas/EMMC Images", (WatchRoot(path=SmbPath("nas", "EMMC Images")),)),
        (["/a", {"path": "smb://nas/s"}], (WatchRoot(path=Path("/a")), WatchRoot(path=SmbPath("nas", "s")))),
        ([], ()),
        ("", ()),
    ],
)
def test_watched_folders_are_written_as_one_or_as_many(
    tmp_path: Path, written: object, roots: tuple[WatchRoot, ...]
) -> None:
    settings = load(tmp_path, {"telescopes": [_GARDEN], "image_watcher": {"watch_path": written}})
    assert settings.image_watcher.watch_path == roots


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"watch_path": "smb://me:s3cret@nas/share"}, "image_watcher.watch_path.0.path"),
        ({"watch_path": [{"path": 5}]}, "image_watcher.watch_path.0.path: is no folder"),
        ({"watch_path": "/a", "backend": "inotify"}, "image_watcher.backend"),
        ({"watch_path": [{"path": "/a", "backend": "polling"}]}, "image_watcher.watch_path.0.backend"),
    ],
)
def test_a_wrong_folder_or_backend_is_named_and_no_password_repeated(
    tmp_path: Path, section: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(tmp_path, {"image_watcher": section})
    assert named in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(("written", "scrubs"), [(None, True), (True, True), (False, False)])
def test_an_unset_scrub_location_means_scrub(tmp_path: Path, written: bool | None, scrubs: bool) -> None:
    content = {} if written is None else {"crowdsky": {"scrub_location": written}}
    assert load(tmp_path, content).crowdsky.scrubs_location is scrubs


def test_what_is_unset_lies_under_data_dir(tmp_path: Path) -> None:
    settings = load(tmp_path, {"data_dir": str(tmp_path / "data")})
    assert settings.archive_path == tmp_path / "data" / "archive"
    assert settings.database == f"sqlite:///{tmp_path}/data/skyrelay.db"
    elsewhere = load(tmp_path, {"archive": {"path": "/nas/stacks"}, "database_url": "sqlite:////x/y.db"})
    assert (elsewhere.archive_path, elsewhere.database) == (Path("/nas/stacks"), "sqlite:////x/y.db")


def test_without_a_redis_it_is_said_how_to_have_one() -> None:
    with pytest.raises(ConfigurationError, match="redis_url is empty"):
        _ = load_settings(None, {}).redis


def test_addresses_lose_their_last_slash(tmp_path: Path) -> None:
    settings = load(tmp_path, {"crowdsky": {"base_url": "http://127.0.0.1:8001/"}})
    assert settings.crowdsky.base_url == "http://127.0.0.1:8001"


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = load(tmp_path, {"telescopes": [_GARDEN]})
    with pytest.raises(ValidationError, match="frozen"):
        settings.database_url = SecretStr("x")
    with pytest.raises(ValidationError, match="frozen"):
        settings.telescopes[0].host = "x"


@pytest.mark.parametrize("same", ["serial", "address"])
def test_a_telescope_that_is_configured_twice_is_refused(tmp_path: Path, same: str) -> None:
    garden = {"name": "garden", "host": "192.0.2.7", "serial": "5e3a7b21"}
    roof = (
        {"name": "roof", "host": "192.0.2.7"}
        if same == "address"
        else {**garden, "name": "roof", "host": "192.0.2.8"}
    )
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"telescopes": [garden, roof]}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"telescopes: the {same} '.*' is given twice"):
        load_settings(file, environ={})


def test_a_redis_address_without_its_scheme_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="redis_url: is no address") as refused:
        load_settings(environ={"SKYRELAY_REDIS_URL": "alice:hunter2@home:6379"})
    assert "hunter2" not in str(refused.value)


def test_quiet_hours_are_one_span_or_several(tmp_path: Path) -> None:
    def hours(value: object) -> list[str]:
        settings = load(tmp_path, {"crowdsky": {"quiet_hours": value}})
        return [str(span) for span in settings.crowdsky.quiet_hours]

    assert hours("22:00-06:30") == ["22:00-06:30"]
    assert hours(["7:00-9:00", "22:00 – 23:00"]) == ["07:00-09:00", "22:00-23:00"]
    assert hours("") == []
    by_environment = load(tmp_path, {}, SKYRELAY_CROWDSKY__QUIET_HOURS="22:00-06:30")
    assert len(by_environment.crowdsky.quiet_hours) == 1
    for wrong in ("22-6", "22:00-22:00", "25:00-26:00"):
        assert "crowdsky.quiet_hours" in problem(tmp_path, {"crowdsky": {"quiet_hours": wrong}})


def test_a_floor_is_for_all_telescopes_or_for_each(tmp_path: Path) -> None:
    one = load(tmp_path, {"archive": {"reserve_gb": 1.5}}).archive
    assert (one.reserve_bytes("garden"), one.reserve_bytes("roof")) == (1_500_000_000,) * 2
    each = load(tmp_path, {"telescopes": [_GARDEN], "archive": {"reserve_gb": {"garden": 20}}}).archive
    assert (each.reserve_bytes("garden"), each.reserve_bytes("roof")) == (20_000_000_000, 0)


def test_a_floor_for_a_telescope_that_there_is_none_of_is_named(tmp_path: Path) -> None:
    content = {"telescopes": [_GARDEN], "archive": {"reserve_gb": {"gardn": 20}}}
    assert "no telescope is named 'gardn'; did you mean 'garden'?" in problem(tmp_path, content)


def test_the_key_file_may_come_from_the_environment(tmp_path: Path) -> None:
    settings = load(tmp_path, {}, SKYRELAY_SECRET_KEY_FILE="/run/secrets/skyrelay")
    assert settings.key_path == Path("/run/secrets/skyrelay")


def test_a_telescope_for_plans_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("telescopes: [{name: garden, host: a}]\ncloud: {telescope: gardn}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"cloud\.telescope.*did you mean 'garden'"):
        load_settings(file, environ={})


def test_the_broker_has_the_usual_ports_and_a_password_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123\n", encoding="utf-8")
    mqtt = load(tmp_path, {"mqtt": {"host": "h"}}, SKYRELAY_MQTT__PASSWORD_FILE=str(secret)).mqtt
    assert (mqtt.port_in_use, mqtt.password.get_secret_value()) == (1883, "0123")
    assert load(tmp_path, {"mqtt": {"tls": True}}, SKYRELAY_MQTT__USERNAME="007").mqtt.port_in_use == 8883
    assert load(tmp_path, {"mqtt": {"tls": True, "port": 2}}).mqtt.port_in_use == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"unit": "°C"}, "say where it stands"),
        ({"topic": "sky/+/now"}, "is no topic"),
        ({"topic": "sky/#"}, "is no topic"),
        ({"path": "a", "observed_at": "b"}, "observed_at is for a topic"),
        ({"topic": "sky/now"}, "mqtt.host: is empty"),
    ],
)
def test_a_value_of_the_conditions_that_stands_nowhere_is_named(
    tmp_path: Path, value: dict[str, str], said: str
) -> None:
    assert said in problem(tmp_path, {"cloud": {"conditions": {"values": {"sky": value}}}})


def test_addresses_of_notifications_come_as_a_list_or_a_line_each_and_are_shown_nowhere(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "urls"
    secret.write_text("ntfy://host/topic\nmailto://me:s3cret@host\n", encoding="utf-8")
    of_file = load(tmp_path, {}, SKYRELAY_NOTIFICATIONS__URLS_FILE=str(secret))
    of_list = load(tmp_path, {"notifications": {"urls": ["ntfy://host/topic", "mailto://me:s3cret@host"]}})
    of_line = load(tmp_path, {}, SKYRELAY_NOTIFICATIONS__URLS="ntfy://host/topic")
    assert of_file.notifications.urls == of_list.notifications.urls
    assert len(of_line.notifications.urls) == 1
    assert "s3cret" not in repr(of_list) + of_list.model_dump_json()
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, {"notifications": {"urls": ["s3cret"]}})
    assert "notifications.urls.0: is no address of Apprise" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_home_assistant_wants_a_broker_and_topics_that_it_understands(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"mqtt\.host: is empty, and home_assistant\.enabled"):
        load(tmp_path, {"home_assistant": {"enabled": True}})
    for wrong in ({"topic": "a/b"}, {"topic": "+"}, {"discovery_prefix": "#"}):
        with pytest.raises(ConfigurationError, match=r"home_assistant\."):
            load(tmp_path, {"mqtt": {"host": "h"}, "home_assistant": wrong})


@pytest.mark.parametrize("prefix", ["home", "home/assistant"])
def test_our_topic_is_not_home_assistants(tmp_path: Path, prefix: str) -> None:
    said = problem(tmp_path, {"home_assistant": {"topic": "home", "discovery_prefix": prefix}})
    assert "home_assistant.topic" in said
    assert "home_assistant.discovery_prefix" in said
    other = {"home_assistant": {"topic": "home", "discovery_prefix": "homeassistant"}}
    assert load(tmp_path, other).home_assistant.topic == "home"
