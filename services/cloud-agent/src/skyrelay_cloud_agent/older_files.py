"""What the older software left in its ``data`` folder: the queue of its uploads is taken over, once."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from skyrelay.logs import get_logger
from skyrelay.outbox.measurements import enqueue_measurement
from skyrelay.store.engine import Store
from skyrelay.store.tables import Measurement
from skyrelay_cloud_agent.node import ACTOR

QUEUE_FILE = "cloud_upload_queue.json"
_TAKEN = ".taken-over"

_log = get_logger(__name__)


def take_over_queue(folder: Path, store: Store, now: datetime) -> int:
    """Put what the older software had queued into the outbox; give how many there were.

    The file is renamed afterwards. After a kill in between it is read again, and what is in the outbox
    already is left alone. A file that cannot be read stays where it is.
    """
    file = folder / QUEUE_FILE
    try:
        payloads = _read(file)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        _log.error(
            "the queue of the older software cannot be read: it stays as it is",
            file=str(file),
            problem=str(error),
        )
        return 0
    with store.write() as session:
        taken = sum(_take(session, payload, now) for payload in payloads)
    file.replace(file.with_name(file.name + _TAKEN))
    _log.info("the queue of the older software was taken over", entries=len(payloads), new=taken)
    return taken


def _read(file: Path) -> list[dict[str, Any]]:
    entries = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("it is no list of uploads")
    return [entry if "measurement" in entry else {"measurement": entry} for entry in entries]


def _take(session: Session, entry: dict[str, Any], now: datetime) -> bool:
    wanted = {"measurement": entry["measurement"], "conditions": entry.get("conditions") or {}}
    payload = json.dumps(wanted)
    if session.scalar(select(Measurement.id).where(Measurement.payload == payload).limit(1)) is not None:
        return False
    image = entry.get("fits_path")
    image_path = Path(image) if isinstance(image, str) and image else None
    enqueue_measurement(session, payload, now=now, actor=ACTOR, first_try=None, image=image_path)
    return True
