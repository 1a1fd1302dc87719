"""``skyrelay verify``: what the server has is what we have."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from skyrelay.archive_paths import locate
from skyrelay.crowdsky.session import client_of
from skyrelay.service import utc_now
from skyrelay.settings import Settings, load_settings
from skyrelay.store.accounts import settings_in_force
from skyrelay.store.engine import Store
from skyrelay.store.migrate import check_migrated
from skyrelay.verifying import Finding, Proof, Verdict
from skyrelay.verifying import verify as verify_deliveries

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    sample: Annotated[
        str, typer.Option(help="Which part of them, those not compared for longest: 5%, 100%.")
    ] = "100%",
    config: Annotated[
        Path | None, typer.Option("--config", help="The YAML file; else $SKYRELAY_CONFIG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Fetch delivered stacks from CrowdSky, and compare pixels and header with the archive.

    Blocks whose raw frames were sent are looked for in the server's list: their stacks are its own work.

    Exit code 0 only when each one that was looked at is there as it was sent, as far as can be told.
    """
    share, settings, console = _share(sample), load_settings(config), Console(stderr=as_json)
    proof = _verify(settings, share, console)
    if as_json:
        findings = [asdict(finding) for finding in proof.findings]
        answer = {"holds": proof.holds, "confirmed": proof.confirmed, "raw": proof.raw, "findings": findings}
        typer.echo(json.dumps(answer, indent=2))
    else:
        console.print(_table(proof))
    raise typer.Exit(0 if proof.holds else 1)


def _verify(settings: Settings, share: float, console: Console) -> Proof:
    store = Store(settings.database)
    try:
        check_migrated(store)
        crowdsky = settings_in_force(settings, store, of=["crowdsky"]).crowdsky
        with console.status("Comparing …") as status:

            def say(finding: Finding) -> None:
                status.update(f"{finding.name}: {finding.verdict}")

            return verify_deliveries(
                store,
                client_of(crowdsky),
                partial(locate, settings.archive_path),
                share=share,
                without_place=crowdsky.scrubs_location,
                clock=utc_now,
                on_finding=say,
            )
    finally:
        store.close()


def _share(sample: str) -> float:
    try:
        share = float(sample.strip().removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{sample!r} is no share: write it as 5%", param_hint="--sample")
    return share


def _table(proof: Proof) -> Table:
    counts = Counter(finding.verdict for finding in proof.findings)
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items()) or "none to compare"
    raw = f", {proof.raw} of them of raw frames" if proof.raw else ""
    title = f"{proof.confirmed} confirmed deliveries{raw}: {said}"
    table = Table("delivery", "chunk key", "verdict", "", title=title)
    for finding in proof.findings:
        if finding.verdict is not Verdict.SAME:
            table.add_row(finding.name, finding.chunk_key or "", finding.verdict, finding.detail)
    return table
