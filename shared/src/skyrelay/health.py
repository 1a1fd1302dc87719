"""The containers' health check: ``python -m skyrelay.health NAME...``.

A service is healthy when its heartbeat is young. A worker's beat is written by its canary task, so it
proves that work is being consumed, not that a process exists.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import requests
from redis.exceptions import RedisError

from skyrelay.errors import SkyrelayError
from skyrelay.gateway_client import ask_gateway
from skyrelay.queue.beats import read_beats
from skyrelay.queue.connection import connect_redis
from skyrelay.service import utc_now
from skyrelay.settings import Settings, load_settings

_GATEWAY = "gateway"  # it is asked over the port that people use
_FLOWER = "flower"  # it is none of ours and does not beat
_FLOWER_TIMEOUT_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Give exit code 0 when all the services named work; else say why not and give 1."""
    parser = argparse.ArgumentParser(prog="python -m skyrelay.health")
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--config", type=Path)
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config)
        problems = [problem for name in options.names if (problem := why_unhealthy(name, settings))]
    except SkyrelayError as error:
        problems = [str(error)]
    sys.stdout.write(("; ".join(problems) or "working") + "\n")
    return 1 if problems else 0


def why_unhealthy(name: str, settings: Settings) -> str | None:
    """Say why a service does not work; `None` when it does."""
    if name == _GATEWAY:
        return _ask_gateway(settings)
    if name == _FLOWER:
        return _ask_flower(settings)
    try:
        with connect_redis(settings.redis) as redis:
            last = read_beats(redis).get(name)
    except RedisError as error:
        return f"Redis does not answer ({error})"
    if last is None:
        return f"{name} has not given a sign of life yet"
    return f"{name} has been silent since {last.at:%H:%M:%S} UTC" if last.is_stale(utc_now()) else None


def _ask_gateway(settings: Settings) -> str | None:
    try:
        ask_gateway(settings, "/healthz")
    except SkyrelayError as error:
        return str(error)
    return None


def _ask_flower(settings: Settings) -> str | None:
    address = f"http://127.0.0.1:{settings.flower.port}{settings.flower_path}/healthcheck"
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.get(address, timeout=_FLOWER_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        return f"Flower does not answer ({error})"
    return None


if __name__ == "__main__":
    sys.exit(main())
