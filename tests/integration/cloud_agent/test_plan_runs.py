"""Plans and interrupts at a telescope: handed over under its lease, never in the place of what runs there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from skyrelay.cloud.client import CloudPlan
from skyrelay.errors import PermanentError, RefusedByRule, SkyrelayError
from skyrelay.service import utc_now
from skyrelay.settings import CloudSettings, ObservatorySettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.leases import release_lease, take_lease
from skyrelay.store.tables import CloudInterrupt, CloudPlanRow
from skyrelay.store.telescopes import lay_down_configured
from skyrelay_cloud_agent.handing_over import choose_telescope
from skyrelay_cloud_agent.interrupt_runs import InterruptRuns
from skyrelay_cloud_agent.plan_books import present_plan, record_interrupt, record_plan
from skyrelay_cloud_agent.plan_runs import PlanRuns
from skyrelay_simulators.telescope import SimulatedTelescope
from skyrelay_simulators.telescope.observation import Activity, View
from support.telescopes import MakeTelescope, asked, make_telescope, settings_of

__all__ = ["make_telescope"]
EVENING = datetime(2026, 11, 25, 18, tzinfo=UTC)  # 19:00 in Vienna
NIGHT = "2026-11-25"
M31: dict[str, Any] = {
    "target": "M 31",
    "ra": 0.7123,
    "dec": 41.27,
    "expDur": 10,
    "expCount": 60,
    "startTime": "20:00",
}
M81: dict[str, Any] = {
    **M31,
    "target": "M 81",
    "ra": 9.926,
    "dec": 69.07,
    "startTime": "02:30",
    "filter": "LP",
}


@dataclass
class Desk:
    """A home with a telescope, and what runs its plans; its clock stands where it is set."""

    store: Store
    telescope: SimulatedTelescope
    settings: Settings
    now: datetime = EVENING
    runs: PlanRuns = field(init=False)
    interrupts: InterruptRuns = field(init=False)

    def __post_init__(self) -> None:
        with self.store.write() as session:
            lay_down_configured(session, self.settings.telescopes, utc_now())
        self.prefer()

    def prefer(self, **cloud: Any) -> None:
        """Change settings of ``cloud``."""
        section = self.settings.cloud.model_copy(update=cloud)
        self.settings = self.settings.model_copy(update={"cloud": section})
        self.runs = PlanRuns(self.settings, self.store, clock=lambda: self.now)
        self.interrupts = InterruptRuns(self.settings, self.store, clock=lambda: self.now)

    def give(self, *items: Any, plan_id: str = "tonight", ask: bool = True, replace: bool = False) -> None:
        """Write a plan down as the polls do; ask for its run as the page does."""
        with self.store.write() as session:
            record_plan(session, CloudPlan(plan_id, NIGHT, "", items), self.now)
            row = present_plan(session)
            if ask and row is not None:
                row.run_asked_at, row.run_state, row.replace_running = self.now, "waiting", replace

    def turn(self, after: timedelta = timedelta(0)) -> CloudPlanRow:
        """Let time pass, and take a turn; give the plan's row."""
        self.now += after
        self.interrupts.run_what_waits()
        self.runs.run_what_waits()
        with self.store.read() as session:
            row = present_plan(session)
        assert row is not None
        return row

    def working_on(self) -> Any:
        """Give the plan that the telescope works on."""
        plan = self.telescope.device.observation.plan
        return plan["plan"] if plan is not None and plan["state"] == "working" else None


@pytest.fixture
def desk(store: Store, make_telescope: MakeTelescope, tmp_path: Path) -> Desk:
    telescope = make_telescope(timezone="Europe/Vienna")
    settings = Settings(
        setup="done",
        data_dir=tmp_path,
        telescopes=(settings_of(telescope),),
        observatory=ObservatorySettings(latitude=48.2, longitude=16.4, timezone="Europe/Vienna"),
        cloud=CloudSettings(enabled=True, url="http://127.0.0.1:9"),
    )
    return Desk(store, telescope, settings)


def test_a_plan_is_handed_over_with_the_times_of_the_telescopes_clock(desk: Desk) -> None:
    desk.give(M81, M31)
    row = desk.turn()
    assert (row.run_state, row.run_reason, row.telescope) == ("handed over", "", "garden")
    plan = desk.working_on()
    assert plan["update_time_seestar"] == "2026.11.25"
    assert [view["target_name"] for view in plan["list"]] == ["M 31", "M 81"]
    assert [view["start_min"] for view in plan["list"]] == [20 * 60, 26 * 60 + 30]
    assert [view["duration_min"] for view in plan["list"]] == [10, 10]
    assert [view["lp_filter"] for view in plan["list"]] == [False, True]
    assert plan["list"][0]["target_ra_dec"] == [0.7123, 41.27]
    ids = {view["target_id"] for view in plan["list"]}
    assert len(ids) == 2
    assert all(10**8 <= each < 10**9 for each in ids)


def test_a_telescope_in_another_zone_gets_its_own_minutes(
    store: Store, make_telescope: MakeTelescope, desk: Desk
) -> None:
    desk.telescope.device.wall_clock.set_local(datetime(2026, 11, 25, 13), "America/New_York")  # noqa: DTZ001
    desk.give(M31)
    desk.turn()
    assert [view["start_min"] for view in desk.working_on()["list"]] == [14 * 60]


def test_without_being_asked_nothing_is_handed_over(desk: Desk) -> None:
    desk.give(M31, ask=False)
    desk.runs.ask_for_new_plan([])
    assert desk.turn().run_state == ""
    assert asked(desk.telescope, "set_view_plan") == 0


def test_auto_run_plans_hands_a_new_plan_over_once(desk: Desk) -> None:
    desk.prefer(auto_run_plans=True)
    desk.give(M31, ask=False)
    desk.runs.ask_for_new_plan([])
    assert desk.turn().run_state == "handed over"
    desk.runs.ask_for_new_plan([])
    desk.turn()
    assert asked(desk.telescope, "set_view_plan") == 1


def test_items_that_are_over_or_low_are_left_out_with_a_reason(desk: Desk) -> None:
    over, south = {**M31, "startTime": "18:00"}, {**M31, "target": "LMC", "dec": -69.8}
    desk.give(over, M31, south, {"target": 7})
    row = desk.turn()
    assert [view["target_name"] for view in desk.working_on()["list"]] == ["M 31"]
    reasons = {each["target"]: each["reason"] for each in row.verdicts or [] if each["reason"]}
    assert "below the horizon" in reasons["LMC"]
    assert reasons["M 31"] == "it is over"


def test_an_item_that_has_begun_gets_what_is_left_of_it(desk: Desk) -> None:
    desk.now = EVENING + timedelta(minutes=64)
    desk.give(M31)
    desk.turn()
    (view,) = desk.working_on()["list"]
    assert (view["start_min"], view["duration_min"]) == (20 * 60 + 4, 6)


@pytest.mark.parametrize("items", [[], [{**M31, "dec": -69.8}]])
def test_a_plan_of_which_nothing_can_be_done_is_refused(desk: Desk, items: list[Any]) -> None:
    desk.give(*items)
    row = desk.turn()
    assert (row.run_state, asked(desk.telescope, "set_view_plan")) == ("refused", 0)
    assert "nothing in it can be done" in row.run_reason


def test_a_plan_of_the_users_is_never_replaced(desk: Desk) -> None:
    desk.telescope.device.observation.begin_plan({"plan_name": "mine", "list": []})
    desk.give(M31)
    row = desk.turn()
    assert (row.run_state, row.can_replace) == ("refused", True)
    assert "mine" in row.run_reason
    assert desk.working_on()["plan_name"] == "mine"


def test_with_leave_a_running_plan_is_replaced(desk: Desk) -> None:
    desk.telescope.device.observation.begin_plan({"plan_name": "mine", "list": []})
    desk.give(M31, replace=True)
    assert desk.turn().run_state == "handed over"
    assert desk.working_on()["list"][0]["target_name"] == "M 31"


def test_a_telescope_that_is_driven_by_the_stacker_is_waited_for(desk: Desk) -> None:
    row = choose_telescope(desk.store, desk.settings)
    with desk.store.write() as session:
        lease = take_lease(session, row.id, "stacker", utc_now())
    assert lease is not None
    desk.give(M31)
    plan = desk.turn()
    assert (plan.run_state, asked(desk.telescope, "set_view_plan")) == ("waiting", 0)
    assert "driven by the stacker" in plan.run_reason
    with desk.store.write() as session:
        release_lease(session, lease)
    assert desk.turn(timedelta(seconds=31)).run_state == "handed over"


def test_a_telescope_that_observes_is_waited_for(desk: Desk) -> None:
    desk.telescope.device.observation.begin(View(Activity.WORKING, "Stack", "star", "M 42"))
    desk.give(M31)
    assert desk.turn().run_state == "waiting"
    desk.telescope.device.observation.end()
    assert desk.turn(timedelta(seconds=31)).run_state == "handed over"


def test_a_plan_that_the_telescope_has_already_is_not_sent_again(desk: Desk) -> None:
    desk.give(M31)
    desk.turn()
    with desk.store.write() as session:
        row = present_plan(session)
        assert row is not None
        row.run_state = "waiting"
    assert desk.turn().run_state == "handed over"
    assert asked(desk.telescope, "set_view_plan") == 1


def test_a_withdrawn_plan_is_refused(desk: Desk) -> None:
    desk.give(M31)
    with desk.store.write() as session:
        record_plan(session, None, desk.now)
    assert "withdrawn" in desk.turn().run_reason


def test_of_several_telescopes_one_must_be_named(desk: Desk, make_telescope: MakeTelescope) -> None:
    other = make_telescope(serial="aabbccdd")
    with desk.store.write() as session:
        lay_down_configured(session, (*desk.settings.telescopes, settings_of(other, "roof")), utc_now())
    desk.give(M31)
    row = desk.turn()
    assert row.run_state == "refused"
    assert "set cloud.telescope" in row.run_reason
    desk.prefer(telescope="roof")
    desk.give(M31)
    assert desk.turn().telescope == "roof"
    assert (asked(desk.telescope, "set_view_plan"), asked(other, "set_view_plan")) == (0, 1)


def test_a_telescope_that_is_not_there_is_named(desk: Desk) -> None:
    desk.prefer(telescope="rof")
    with pytest.raises(PermanentError, match="'rof'"):
        choose_telescope(desk.store, desk.settings)


def seen(desk: Desk, *, ask: bool = False, replace: bool = False, **changes: Any) -> dict[str, Any]:
    """Write an interrupt that stands high over Vienna down as the polls do; ask for it as the page does."""
    usual = {"id": 7, "name": "GRB 261125A", "reason": "afterglow", "ra_deg": 10.7, "dec_deg": 41.3}
    interrupt = {**usual, **changes}
    with desk.store.write() as session:
        row = record_interrupt(session, desk.settings.cloud.url, interrupt, desk.now)
        if ask:
            row.run_asked_at, row.run_state, row.replace_running = desk.now, "waiting", replace
    return interrupt


def look_at_interrupts(desk: Desk, after: timedelta = timedelta(0)) -> CloudInterrupt:
    """Let time pass, and see to what waits; give the last interrupt's row."""
    desk.now += after
    desk.interrupts.run_what_waits()
    with desk.store.read() as session:
        return session.scalars(select(CloudInterrupt).order_by(CloudInterrupt.id.desc())).first() or (
            pytest.fail("there is no interrupt")
        )


def test_an_interrupt_is_a_notice_only_unless_plans_run_by_themselves(desk: Desk) -> None:
    desk.interrupts.take(seen(desk))
    assert look_at_interrupts(desk).run_state == ""
    assert desk.working_on() is None


def test_an_interrupt_is_handed_over_under_the_same_rules(desk: Desk) -> None:
    desk.prefer(auto_run_plans=True)
    desk.interrupts.take(seen(desk))
    (view,) = desk.working_on()["list"]
    assert (view["target_name"], view["start_min"], view["duration_min"]) == ("GRB 261125A", 19 * 60, 20)
    row = look_at_interrupts(desk)
    assert (row.run_state, row.telescope, row.run_at) == ("handed over", "garden", EVENING)


def test_an_interrupt_that_was_handed_over_is_not_sent_again_when_it_is_told_again(desk: Desk) -> None:
    desk.prefer(auto_run_plans=True)
    desk.interrupts.take(seen(desk))
    desk.telescope.device.observation.end_plan()
    desk.now += timedelta(minutes=30)
    desk.interrupts.take(seen(desk))
    assert asked(desk.telescope, "set_view_plan") == 1


@pytest.mark.parametrize("change", [{"ra_deg": 999.0}, {"dec_deg": -80}, {"ra_deg": None}, {"name": ""}])
def test_an_interrupt_that_cannot_be_pointed_at_is_not_handled(desk: Desk, change: dict[str, Any]) -> None:
    desk.prefer(auto_run_plans=True)
    with pytest.raises(SkyrelayError):
        desk.interrupts.take(seen(desk, **change))
    assert asked(desk.telescope, "set_view_plan") == 0


def test_an_interrupt_never_replaces_a_running_plan(desk: Desk) -> None:
    desk.prefer(auto_run_plans=True)
    desk.telescope.device.observation.begin_plan({"plan_name": "mine", "list": []})
    with pytest.raises(RefusedByRule, match="mine"):
        desk.interrupts.take(seen(desk))
    row = look_at_interrupts(desk)
    assert (row.run_state, row.can_replace) == ("refused", True)
    desk.telescope.device.observation.end_plan()
    desk.interrupts.take(seen(desk))  # as at the next poll
    assert desk.working_on()["list"][0]["target_name"] == "GRB 261125A"


def test_an_interrupt_is_handed_over_when_a_person_asks(desk: Desk) -> None:
    seen(desk, ask=True)
    row = look_at_interrupts(desk)
    assert (row.run_state, row.run_reason, row.telescope) == ("handed over", "", "garden")
    assert desk.working_on()["plan_name"] == "interrupt 7 GRB 261125A"


def test_an_interrupt_replaces_what_runs_only_with_leave(desk: Desk) -> None:
    desk.telescope.device.observation.begin_plan({"plan_name": "mine", "list": []})
    seen(desk, ask=True)
    row = look_at_interrupts(desk)
    assert (row.run_state, row.can_replace) == ("refused", True)
    assert "mine" in row.run_reason
    assert desk.working_on()["plan_name"] == "mine"
    desk.now += timedelta(seconds=1)
    seen(desk, ask=True, replace=True)
    assert look_at_interrupts(desk).run_state == "handed over"
    assert desk.working_on()["plan_name"] == "interrupt 7 GRB 261125A"


def test_an_interrupt_waits_for_a_telescope_that_observes_until_it_expires(desk: Desk) -> None:
    desk.telescope.device.observation.begin(View(Activity.WORKING, "Stack", "star", "M 42"))
    expires_at = (desk.now + timedelta(minutes=5)).isoformat()
    seen(desk, ask=True, expires_at=expires_at)
    assert look_at_interrupts(desk).run_state == "waiting"
    row = look_at_interrupts(desk, timedelta(minutes=6))
    assert (row.run_state, row.run_reason) == ("refused", "it has expired")
    desk.telescope.device.observation.end()
    assert look_at_interrupts(desk, timedelta(minutes=1)).run_state == "refused"
    assert asked(desk.telescope, "set_view_plan") == 0


def test_a_plan_waits_for_an_interrupt_that_is_being_observed(desk: Desk) -> None:
    seen(desk, ask=True)
    desk.give(M31)
    row = desk.turn()
    assert (row.run_state, row.can_replace) == ("waiting", False)
    assert "interrupt 7" in row.run_reason
    desk.telescope.device.observation.end_plan()
    assert desk.turn(timedelta(seconds=31)).run_state == "handed over"
