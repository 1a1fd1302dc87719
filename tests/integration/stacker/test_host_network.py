"""Looking for telescopes from the host's network, beside a stacker that leaves it to this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from skyrelay.service import utc_now
from skyrelay.store.tables import Discovery
from skyrelay_stacker.discovering import is_left_to_another
from support.telescopes import SERIAL, MakeTelescope
from support.waiting import eventually
from support.workshop import Home


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()


def test_while_it_lives_it_answers_and_the_stacker_leaves_the_questions_to_it(
    home: Home, make_telescope: MakeTelescope
) -> None:
    folder, address = home.settings.data_dir, f"127.0.0.1:{make_telescope().endpoint.udp_port}"
    assert not is_left_to_another(folder)
    environment = {
        **os.environ,
        "SKYRELAY_DATA_DIR": str(folder),
        "SKYRELAY_DATABASE_URL": home.store.engine.url.render_as_string(),
        "SKYRELAY_REDIS_URL": "unix:///nowhere/redis.sock",
        "SKYRELAY_SETUP": "done",
    }
    command = [sys.executable, "-m", "skyrelay_stacker.host_network"]
    with subprocess.Popen(command, env=environment) as looking, ending(looking):
        eventually(lambda: is_left_to_another(folder), within_s=60)
        with home.store.write() as session:
            session.add(Discovery(addresses=[address], asked_at=utc_now()))
        eventually(lambda: home.rows(Discovery)[0].finished_at is not None, within_s=60)
        assert subprocess.run([*command, "--health"], env=environment, check=False).returncode == 0
    assert looking.returncode == 0
    assert SERIAL in [found["serial"] for found in home.rows(Discovery)[0].found]
    assert not is_left_to_another(folder)
    assert subprocess.run([*command, "--health"], env=environment, check=False).returncode == 1
