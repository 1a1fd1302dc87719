"""Drives the public client against the simulators; run by the Python of the client's own environment.

Usage: ``python drive_public_client.py ORDER REPORT``. ORDER is a JSON file with ``host``, ``target``,
``folder``, ``crowdsky`` (``base_url``, ``username``, ``password``) and ``actions``; REPORT gets what
each action gave, by its name. Nothing of ours is imported here, and nothing of the client elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seestarpy import connection, crowdsky, data
from seestarpy.crowdsky import server

Order = dict[str, Any]


def main(order_path: str, report_path: str) -> None:
    """Do what the order says, and report."""
    order: Order = json.loads(Path(order_path).read_text())
    point_at_simulators(order)
    report = {action: ACTIONS[action](order) for action in order["actions"]}
    Path(report_path).write_text(json.dumps(report, default=str))


def point_at_simulators(order: Order) -> None:
    """Let the client know the simulators and nothing else: it looks round the real network on import."""
    connection.AVAILABLE_IPS.clear()
    connection.DISCOVERED.clear()
    connection.AVAILABLE_IPS["simulated"] = order["host"]
    connection.DEFAULT_IP = order["host"]
    connection.VERBOSE_LEVEL = 0
    server.set_base_url(order["crowdsky"]["base_url"])
    server.set_credentials(order["crowdsky"]["username"], order["crowdsky"]["password"])


def look(order: Order) -> dict[str, Any]:
    """List the targets, find their blocks, and say what would be stacked."""
    return {
        "targets": crowdsky.list_targets(),
        "unstacked": crowdsky.find_unstacked_blocks(order["target"]),
        "dry_run": crowdsky.stack_blocks(order["target"], dry_run=True),
    }


def stack(order: Order) -> dict[str, Any]:
    """Stack the blocks, and once more: then nothing is left."""
    return {
        "first": crowdsky.stack_blocks(order["target"]),
        "unstacked": crowdsky.find_unstacked_blocks(order["target"]),
        "again": crowdsky.stack_blocks(order["target"]),
    }


def upload(order: Order) -> dict[str, Any]:
    """Upload all stacks, and once more."""
    folder = str(Path(order["folder"]) / "to-upload")
    return {
        "dry_run": server.upload_all_stacks(dest=folder, dry_run=True),
        "first": server.upload_all_stacks(dest=folder),
        "again": server.upload_all_stacks(dest=folder),
        "listed": server.list_stacks(),
        "listed_of_target": server.list_stacks(order["target"]),
        "listed_of_another": server.list_stacks("M 1"),
    }


def download(order: Order) -> dict[str, Any]:
    """Download each stack by its key."""
    keys = sorted({stack["chunk_key"] for stack in server.list_stacks()})
    return {
        "keys": keys,
        "files": server.download_stack(keys, dest=str(Path(order["folder"]) / "downloaded")),
    }


def raw(order: Order) -> dict[str, Any]:
    """Upload some raw frames in two sessions: the second one may overwrite."""
    folder = f"{order['target']}_sub"
    names = sorted(data.list_folder_contents(folder, filetype="fit"))[: order["raw_frames"]]
    dest = str(Path(order["folder"]) / "raw")
    paths = [data.download_file(folder, name, dest) for name in names]
    return {"kept": _send_raw(paths, overwrite=False), "overwritten": _send_raw(paths, overwrite=True)}


def _send_raw(paths: list[str], *, overwrite: bool) -> dict[str, Any]:
    token = server.raw_start_session()
    files = [server.raw_upload_file(token, path) for path in paths]
    return {"files": files, "result": server.raw_finalize(token, scrub_location=True, overwrite=overwrite)}


def purge(_: Order) -> dict[str, Any]:
    """Delete all CrowdSky stacks on the telescope."""
    return {"first": crowdsky.purge_crowdsky_stacks(), "again": crowdsky.purge_crowdsky_stacks()}


ACTIONS: dict[str, Callable[[Order], dict[str, Any]]] = {
    action.__name__: action for action in (look, stack, upload, download, raw, purge)
}

if __name__ == "__main__":
    main(*sys.argv[1:])
