"""The controls that all simulated web servers have: their journal, and the faults that they show."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from pydantic import RootModel

from skyrelay_simulators.web.faults import Fault, FaultBoard
from skyrelay_simulators.web.journal import Journal


class FaultOrder(RootModel[dict[str, Fault | list[Fault] | None]]):
    """Faults by endpoint: one, several in a row, or null to clear."""


def add_controls(app: FastAPI, faults: FaultBoard, journal: Journal) -> None:
    """Put ``/_sim/journal`` and ``/_sim/faults`` into an application."""

    @app.get("/_sim/journal")
    def read_journal(endpoint: str | None = None) -> list[dict[str, object]]:
        return [entry.to_json() for entry in journal.entries(endpoint)]

    @app.get("/_sim/faults")
    def read_faults() -> dict[str, list[Fault]]:
        return dict(faults.shown())

    @app.post("/_sim/faults")
    def set_faults(order: FaultOrder) -> dict[str, list[Fault]]:
        _set_faults(faults, order)
        return dict(faults.shown())

    @app.delete("/_sim/faults")
    def clear_faults() -> dict[str, bool]:
        faults.clear()
        return {"ok": True}


def _set_faults(faults: FaultBoard, order: FaultOrder) -> None:
    for endpoint, given in order.root.items():
        try:
            faults.set(endpoint, given if isinstance(given, list) else [given] if given else [])
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
