"""The login at the home's MQTT broker, as it is configured or was entered now."""

from __future__ import annotations

from pydantic import SecretStr

from skyrelay.mqtt import Login
from skyrelay.settings import Settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store


def broker_login(settings: Settings, store: Store) -> Login:
    """Give what an `skyrelay.mqtt.MqttConnection` asks before each attempt."""

    def login() -> tuple[str, SecretStr]:
        mqtt = settings_in_force(settings, store, of=["mqtt"]).mqtt
        return mqtt.username, mqtt.password

    return login
