"""The plan and the interrupts: fetched now and then, told to the callbacks once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from skyrelay.cloud.client import CloudClient
from skyrelay.cloud.credentials import NodeCredentials
from skyrelay.cloud.errors import CloudRefused, CredentialsRefused
from skyrelay.errors import SkyrelayError
from skyrelay.logs import get_logger
from skyrelay.service import utc_now
from skyrelay.settings import Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import CloudInterrupt
from skyrelay_cloud_agent.beating import LOOK_AGAIN
from skyrelay_cloud_agent.loop import retry_delay, spread
from skyrelay_cloud_agent.node import Node
from skyrelay_cloud_agent.plan_books import (
    note_acknowledged,
    note_interrupt,
    note_plan_told,
    present_plan,
    record_interrupt,
    record_plan,
)
from skyrelay_cloud_agent.standing import AgentState, Standing

_log = get_logger(__name__)

OnPlan = Callable[[list[Any]], object]
OnInterrupt = Callable[[dict[str, Any]], object]


class Polling:
    """The turns of the thread ``cloud-plan``.

    Parameters
    ----------
    on_plan
        Told of the items of each plan whose ``plan_id`` is another than the last one's.
    on_interrupt
        Told of each interrupt, again at each poll until it returns without raising.
    should_stop
        Whether no further callback is to be begun.
    """

    def __init__(
        self,
        settings: Settings,
        client: CloudClient,
        node: Node,
        standing: Standing,
        store: Store,
        *,
        on_plan: OnPlan | None,
        on_interrupt: OnInterrupt | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings, self._client, self._node, self._standing = settings, client, node, standing
        self._store, self._on_plan, self._on_interrupt = store, on_plan, on_interrupt
        self._should_stop = should_stop
        self._failures = 0
        self.waits_for_credentials = True  # then a heartbeat that succeeds wakes us

    def recall(self) -> None:
        """Show the plan of the last session until there is another."""
        with self._store.read() as session:
            present = present_plan(session)
        if present is not None:
            self._show(present.plan_id, len(present.items))

    def turn(self) -> timedelta:
        """Do what is due; give how long to wait then."""
        self.waits_for_credentials = True  # said before we look: who registers in between wakes us
        credentials = self._node.usable()
        if credentials is None:
            return LOOK_AGAIN
        self.waits_for_credentials = False
        interval = self._settings.cloud.plan_poll_interval
        outcomes = [self._attempt(each, credentials) for each in (self._ask_plan, self._ask_interrupts)]
        if all(outcomes):
            self._failures = 0
            return spread(interval)
        self._failures += 1
        return min(retry_delay(self._failures - 1, None), spread(interval))

    def _attempt(self, ask: Callable[[NodeCredentials], None], credentials: NodeCredentials) -> bool:
        try:
            ask(credentials)
        except CredentialsRefused as error:
            self._node.note_refused(credentials)
            self._standing.enter(AgentState.CREDENTIALS_REFUSED, str(error))
        except SkyrelayError as error:
            self._standing.note(str(error))
            _log.info("the cloud's plan or interrupts were not read", problem=str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the polls; it shows
            _log.exception("the cloud agent fails")
            self._standing.note(str(error))
        else:
            return True
        return False

    def _ask_plan(self, credentials: NodeCredentials) -> None:
        plan = self._client.plan(credentials)
        with self._store.write() as session:
            untold = record_plan(session, plan, utc_now())
        if plan is not None:
            self._show(plan.plan_id, len(plan.items))
        if untold is not None and not self._should_stop() and self._tell_plan(list(untold.items)):
            with self._store.write() as session:
                note_plan_told(session, untold.id, utc_now())

    def _tell_plan(self, items: list[Any]) -> bool:
        if self._on_plan is None:
            return True
        problem = _problem_of(self._on_plan, items)
        if problem:
            self._standing.note(f"the plan's handler failed: {problem}")
            _log.warning("the plan's handler failed; it is told again at the next poll", problem=problem)
        return not problem

    def _show(self, plan_id: str, items: int) -> None:
        self._standing.status["last_plan_id"], self._standing.status["plan_items"] = plan_id, items

    def _ask_interrupts(self, credentials: NodeCredentials) -> None:
        for payload in self._client.interrupts(credentials):
            if self._should_stop():
                return
            with self._store.write() as session:
                row = record_interrupt(session, self._settings.cloud.url, payload, utc_now())
            if row.acked_at is None:
                self._see_to(row, payload, credentials)

    def _see_to(self, row: CloudInterrupt, payload: Mapping[str, Any], credentials: NodeCredentials) -> None:
        is_over = row.expires_at is not None and row.expires_at <= utc_now()
        is_handled = row.handled_at is not None or (not is_over and self._handle(row, payload))
        if is_handled:
            self._acknowledge(row, credentials)

    def _handle(self, row: CloudInterrupt, payload: Mapping[str, Any]) -> bool:
        if self._on_interrupt is None:
            return False  # nobody has taken it: the cloud is not told otherwise
        told = {"name": row.name, "reason": "", **payload}
        problem = _problem_of(self._on_interrupt, told)
        with self._store.write() as session:
            note_interrupt(session, row.id, utc_now(), problem=problem)
        if problem:
            self._standing.note(f"the handler of interrupt {row.number} failed: {problem}")
            _log.warning(
                "an interrupt's handler failed; it is told again", number=row.number, problem=problem
            )
        return not problem

    def _acknowledge(self, row: CloudInterrupt, credentials: NodeCredentials) -> None:
        try:
            self._client.acknowledge(credentials, row.number)
        except CredentialsRefused:
            raise
        except CloudRefused as error:  # unknown there (by now): there is nobody to tell
            _log.info("an acknowledgement was refused", number=row.number, problem=str(error))
        with self._store.write() as session:
            note_acknowledged(session, row.id, utc_now())


def _problem_of(callback: Callable[[Any], object], told: object) -> str:
    """Call somebody else's function; give what it raised, in words."""
    try:
        callback(told)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the next poll tells it again
        return f"{type(error).__name__}: {error}"[:500]
    return ""
