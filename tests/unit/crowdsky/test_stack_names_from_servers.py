"""The name that a server gives to a download becomes one safe component of a path."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from skyrelay.crowdsky.downloading import stack_name

OTHERWISE = "20250327.05_HP033810.fits"
pieces = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["../", "..\\", "/", "\x00", "CON", ".fit", "filename=", "filename*=UTF-8''", '"', "%2F"]
        ),
    ),
    max_size=12,
).map("".join)


@example("0\xa00", "attachment; filename={}")
@given(
    pieces, st.sampled_from(["attachment; filename={}", 'attachment; filename="{}"', "{}", "x; filename*={}"])
)
def test_no_header_leads_out_of_the_folder(wish: str, form: str) -> None:
    name = stack_name({"Content-Disposition": form.format(wish)}, OTHERWISE)

    assert (Path("folder") / name).parent == Path("folder")
    assert name not in {"", ".", ".."}
    assert not name.startswith(".")
    assert name.casefold().endswith((".fit", ".fits"))
    assert len(name.encode()) <= 255
    assert "\\" not in name
    assert name.isprintable()


def test_an_ordinary_name_stays_as_it_is() -> None:
    name = "CrowdSky_31_M 94_10.0s_IRCUT_20250327.05_HP033810.fit"
    assert stack_name({"Content-Disposition": f'attachment; filename="{name}"'}, OTHERWISE) == name
    assert (
        stack_name({"Content-Disposition": f"attachment; filename*=UTF-8''{name.replace(' ', '%20')}"}, "")
        == name
    )


def test_bytes_of_utf8_are_read_as_such() -> None:
    raw = 'attachment; filename="Ørion.fit"'.encode().decode("latin-1")
    assert stack_name({"Content-Disposition": raw}, OTHERWISE) == "Ørion.fit"
