"""What the simulated cloud keeps: files in a folder, and an SQLite index of everything."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from skyrelay_simulators.cloud.records import (
    StoredFile,
    StoredInterrupt,
    StoredMeasurement,
    StoredNode,
    interrupt_of,
    measurement_of,
    node_of,
)
from skyrelay_simulators.web.kept_files import KeptFile, KeptFiles

EVERY_NODE = ""  # whose plan a plan is that is nobody's own
_BUSY_S = 30.0  # how long one request waits for another's transaction
_TABLES = """
CREATE TABLE IF NOT EXISTS nodes (
    node_id TEXT PRIMARY KEY, api_key TEXT NOT NULL, card TEXT NOT NULL, conditions TEXT NOT NULL,
    registered_at TEXT NOT NULL, last_heartbeat TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS used_codes (code TEXT PRIMARY KEY, node_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plans (node_id TEXT PRIMARY KEY, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS interrupts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, ra_deg REAL NOT NULL, dec_deg REAL NOT NULL,
    mag REAL, reason TEXT NOT NULL, node_ids TEXT NOT NULL, created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS acknowledgements (
    interrupt_id INTEGER NOT NULL, node_id TEXT NOT NULL, PRIMARY KEY (interrupt_id, node_id));
CREATE TABLE IF NOT EXISTS measurements (
    id INTEGER PRIMARY KEY AUTOINCREMENT, node_id TEXT NOT NULL, target_name TEXT NOT NULL, bjd REAL NOT NULL,
    filter TEXT NOT NULL, measurement TEXT NOT NULL, conditions TEXT NOT NULL, received_at TEXT NOT NULL,
    UNIQUE (node_id, target_name, bjd, filter));
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, node_id TEXT NOT NULL, day TEXT NOT NULL,
    name TEXT NOT NULL, stored_as TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
    times_sent INTEGER NOT NULL DEFAULT 1);
"""


class Storage:
    """Files and index under one folder. Safe to use from several threads; survives the server's end."""

    def __init__(self, folder: Path) -> None:
        self._files = KeptFiles(folder / "files")
        self._index = folder / "cloud.sqlite3"
        with self._opened() as database:
            database.executescript(_TABLES)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the index for one transaction; nothing is left open between two."""
        with closing(sqlite3.connect(self._index, timeout=_BUSY_S)) as database, database:
            database.row_factory = sqlite3.Row
            yield database

    # Nodes

    def node(self, node_id: str) -> StoredNode | None:
        """Give a node."""
        return next((node for node in self.nodes() if node.node_id == node_id), None)

    def nodes(self) -> list[StoredNode]:
        """Give all nodes, oldest first."""
        with self._opened() as database:
            rows = database.execute("SELECT * FROM nodes ORDER BY rowid").fetchall()
        return [node_of(row) for row in rows]

    def put_node(self, node_id: str, card: dict[str, Any]) -> StoredNode | None:
        """Enter a node, or its new card if the card has its key; `None` if the node is somebody else's."""
        now, text = _now(), json.dumps({name: value for name, value in card.items() if name != "api_key"})
        new = (node_id, secrets.token_urlsafe(32), text, now, now)
        with self._opened() as database:
            inserted = database.execute("INSERT OR IGNORE INTO nodes VALUES (?, ?, ?, '{}', ?, ?, 0)", new)
            row = database.execute("SELECT api_key FROM nodes WHERE node_id = ?", (node_id,)).fetchone()
            if inserted.rowcount == 0 and row["api_key"] != card.get("api_key", ""):
                return None
            database.execute("UPDATE nodes SET card = ? WHERE node_id = ?", (text, node_id))
        return self.node(node_id)

    def use_code(self, code: str, node_id: str) -> bool:
        """Use an activation code up; `False` if it was used up before."""
        with self._opened() as database:
            used = database.execute("INSERT OR IGNORE INTO used_codes VALUES (?, ?)", (code, node_id))
        return used.rowcount == 1

    def beat(self, node_id: str, conditions: dict[str, Any]) -> None:
        """Write a heartbeat down; its conditions replace the earlier ones if it has any."""
        with self._opened() as database:
            database.execute("UPDATE nodes SET last_heartbeat = ? WHERE node_id = ?", (_now(), node_id))
            if conditions:
                values = (json.dumps(conditions), node_id)
                database.execute("UPDATE nodes SET conditions = ? WHERE node_id = ?", values)

    def revoke(self, node_id: str) -> bool:
        """Accept a node's key no more; `False` if there is no such node."""
        with self._opened() as database:
            changed = database.execute("UPDATE nodes SET revoked = 1 WHERE node_id = ?", (node_id,))
        return changed.rowcount == 1

    # Plans

    def put_plan(self, node_id: str, plan: dict[str, Any] | None) -> None:
        """Put a node's plan (or everybody's) in the place of the earlier one; `None` takes it away."""
        with self._opened() as database:
            database.execute("DELETE FROM plans WHERE node_id = ?", (node_id,))
            if plan is not None:
                database.execute("INSERT INTO plans VALUES (?, ?)", (node_id, json.dumps(plan)))

    def plan(self, node_id: str) -> dict[str, Any] | None:
        """Give a node's own plan, else everybody's."""
        question = "SELECT plan FROM plans WHERE node_id IN (?, ?) ORDER BY node_id DESC"
        with self._opened() as database:
            row = database.execute(question, (node_id, EVERY_NODE)).fetchone()
        plan: dict[str, Any] | None = json.loads(row["plan"]) | {"node_id": node_id} if row else None
        return plan

    # Interrupts

    def add_interrupt(self, interrupt: StoredInterrupt) -> int:
        """Enter an interrupt; give its number."""
        values = asdict(interrupt) | {"node_ids": json.dumps(interrupt.node_ids)}
        with self._opened() as database:
            cursor = database.execute(
                "INSERT INTO interrupts (name, ra_deg, dec_deg, mag, reason, node_ids, created_at,"
                " expires_at) VALUES (:name, :ra_deg, :dec_deg, :mag, :reason, :node_ids, :created_at,"
                " :expires_at)",
                values,
            )
        return cursor.lastrowid or 0

    def interrupts(self) -> list[StoredInterrupt]:
        """Give all interrupts, oldest first."""
        with self._opened() as database:
            rows = database.execute("SELECT * FROM interrupts ORDER BY id").fetchall()
            acks = database.execute("SELECT * FROM acknowledgements ORDER BY rowid").fetchall()
        return [interrupt_of(row, acks) for row in rows]

    def acknowledge(self, interrupt_id: int, node_id: str) -> None:
        """Write down that a node has taken an interrupt, once."""
        with self._opened() as database:
            database.execute("INSERT OR IGNORE INTO acknowledgements VALUES (?, ?)", (interrupt_id, node_id))

    # Measurements

    def add_measurement(self, measurement: dict[str, Any], conditions: dict[str, Any]) -> int | None:
        """Enter a measurement; give its number, `None` if it is there already."""
        identity = (
            measurement["node_id"],
            str(measurement["target_name"]),
            float(measurement["bjd"]),
            str(measurement["filter"]),
        )
        with self._opened() as database:
            cursor = database.execute(
                "INSERT OR IGNORE INTO measurements (node_id, target_name, bjd, filter, measurement,"
                " conditions, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*identity, json.dumps(measurement), json.dumps(conditions), _now()),
            )
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def measurements(self) -> list[StoredMeasurement]:
        """Give all measurements, in the order of their arrival."""
        with self._opened() as database:
            rows = database.execute("SELECT * FROM measurements ORDER BY id").fetchall()
        return [measurement_of(row) for row in rows]

    # Files

    def keep_file(self, source: BinaryIO, suffix: str) -> KeptFile:
        """Copy what is read from ``source`` into a file with a name of our own."""
        return self._files.keep(source, suffix)

    def path_of(self, stored_as: str) -> Path:
        """Give where a file lies."""
        return self._files.path_of(stored_as)

    def add_image(self, node_id: str, name: str, kept: KeptFile) -> StoredFile:
        """Enter an image; one of the same node, name and UTC day is replaced."""
        day = _now()[:10]
        same_day = [file for file in self.files("image") if (file.node_id, file.day) == (node_id, day)]
        older = [file for file in same_day if file.name == name]
        times_sent = 1 + sum(file.times_sent for file in older)
        file = StoredFile("image", node_id, day, name, kept.path.name, kept.size, kept.sha256, times_sent)
        with self._opened() as database:
            for replaced in older:
                database.execute("DELETE FROM files WHERE stored_as = ?", (replaced.stored_as,))
            _insert_file(database, file)
        for replaced in older:
            self.path_of(replaced.stored_as).unlink(missing_ok=True)
        return file

    def add_aavso_file(self, node_id: str, name: str, kept: KeptFile) -> StoredFile:
        """Enter a text file; one of a name that the day has already gets a number."""
        day = _now()[:10]
        taken = {file.name for file in self.files("aavso") if file.day == day}
        stem = name.removesuffix(".txt")
        names = (f"{stem}{f'_{number}' if number else ''}.txt" for number in range(len(taken) + 1))
        free = next(name for name in names if name not in taken)
        file = StoredFile("aavso", node_id, day, free, kept.path.name, kept.size, kept.sha256, 1)
        with self._opened() as database:
            _insert_file(database, file)
        return file

    def files(self, kind: str) -> list[StoredFile]:
        """Give the files of a kind, in the order of their arrival."""
        columns = "kind, node_id, day, name, stored_as, size, sha256, times_sent"
        question = f"SELECT {columns} FROM files WHERE kind = ? ORDER BY id"  # noqa: S608 - our own columns
        with self._opened() as database:
            return [StoredFile(**row) for row in map(dict, database.execute(question, (kind,)))]


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _insert_file(database: sqlite3.Connection, file: StoredFile) -> None:
    database.execute(
        "INSERT INTO files (kind, node_id, day, name, stored_as, size, sha256, times_sent)"
        " VALUES (:kind, :node_id, :day, :name, :stored_as, :size, :sha256, :times_sent)",
        asdict(file),
    )
