"""A batch stack's progress and setting, as the firmware words them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.seestar.errors import NameUnsafe
from skyrelay.seestar.fields import Fields
from skyrelay.seestar.stack_run import StackRun, StackSetting, StackState

_NAMES = st.lists(
    st.sampled_from([f"Light_M 81_20.0s_LP_20260227-2252{n:02}.fit" for n in range(60)]), min_size=1
)


def run(**members: object) -> StackRun:
    """Read a ``BatchStack``."""
    return StackRun.parse(Fields(members))  # type: ignore[arg-type] # the test's members are JSON


def test_a_finished_run_says_what_came_out() -> None:
    output = {"path": "MyWorks/M 81", "files": [{"name": "DSO_Stacked_3_M 81.fit", "thn": "t.jpg"}]}
    seen = run(
        state="complete", percent=100.0, stacked_img=3, total_img=4, remaining_sec=0, output_file=output
    )
    assert (seen.state, seen.stacked, seen.total) == (StackState.COMPLETE, 3, 4)
    assert (seen.output_folder, seen.output_files) == ("M 81", ("DSO_Stacked_3_M 81.fit",))
    assert seen.ended


@pytest.mark.parametrize("state", [None, "", "idle", 5, "WORKING"])
def test_a_state_that_we_do_not_know_is_no_run(state: object) -> None:
    assert run(state=state).state is StackState.NONE


def test_a_failure_says_why_and_whether_it_lasts() -> None:
    failed = run(state="fail", code=267)
    assert (failed.error, failed.is_lasting_failure) == ("no image", True)
    assert not run(state="cancel", code=514).is_lasting_failure


@pytest.mark.parametrize("percent", ["x", None, float("nan"), float("inf"), [], True, 10**400])
def test_a_number_that_is_none_is_unknown(percent: object) -> None:
    assert run(state="working", percent=percent).percent is None


@pytest.mark.parametrize("path", ["../../etc", "MyWorks/../x", "/", "EMMC/M 81", "MyWorks/a/b"])
def test_an_output_elsewhere_is_no_folder_of_ours(path: str) -> None:
    output = {"path": path, "files": [{"name": ".."}, {"name": "a\\b"}, {"name": 5}, 7]}
    seen = run(state="complete", output_file=output)
    assert (seen.output_path, seen.output_folder, seen.output_files) == (path, None, ())


@given(_NAMES, st.sampled_from([None, 2427, 2775, 2846]))
def test_a_setting_reads_back_in_either_dialect(names: list[str], firmware: int | None) -> None:
    setting = StackSetting.of("M 81_sub", names)
    assert StackSetting.parse(setting.params(firmware)) == setting


def test_frames_are_given_in_the_order_of_their_names() -> None:
    params = StackSetting.of("M 81_sub", ["b.fit", "a.fit"]).params(2427)
    assert params == {"path": "MyWorks/M 81_sub", "files": [{"name": "a.fit"}, {"name": "b.fit"}]}


def test_no_setting_is_told_from_an_empty_one() -> None:
    assert StackSetting.parse(0) is None
    assert StackSetting.parse({"path": "", "files": []}) is None
    assert StackSetting.parse({"path": "MyWorks/M 81_sub", "files": []}) == StackSetting(
        "M 81_sub", frozenset()
    )


@pytest.mark.parametrize(
    ("folder", "names"), [("..", ["a.fit"]), ("M 81_sub", ["../a.fit"]), ("", ["a.fit"])]
)
def test_unsafe_names_are_never_sent(folder: str, names: list[str]) -> None:
    with pytest.raises(NameUnsafe):
        StackSetting.of(folder, names)


def test_a_stack_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        StackSetting.of("M 81_sub", [])
