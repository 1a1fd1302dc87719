"""What Hypothesis draws from: parts of file names, instants, UTC offsets."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from hypothesis import strategies as st

_EXPOSURE = re.compile(r"[0-9]+(\.[0-9]+)?s", re.IGNORECASE | re.ASCII)
_FREE_TEXT = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
_TRICKY_TEXT = st.sampled_from(
    [
        "M 81",
        "NGC_7000",
        "mosaic_",
        "_",
        "__",
        ".",
        "..",
        "+",
        "'",
        '"',
        "β Cen",
        "織女",
        "É",
        "🔭",
        "-",
        "%2F",
        "\n",
    ]
) | st.sampled_from(
    ["20250327-211500", "20250327.05", "HP033810", "10.0s", "IRCUT", "Light", "DSO_Stacked_5", ".fit"]
)

targets = st.one_of(
    st.text(_FREE_TEXT, min_size=1, max_size=200),
    st.lists(_TRICKY_TEXT, min_size=1, max_size=8).map("_".join),
    st.lists(_TRICKY_TEXT, min_size=1, max_size=8).map("".join),
    st.text(_FREE_TEXT, min_size=1, max_size=190).map("mosaic_{}".format),
)
exposures = st.one_of(
    st.sampled_from(["10s", "10.0s", "20.0s", "30.0S", "0.5s", "60s"]),
    st.integers(0, 99_999).map("{}s".format),
    st.decimals(0, 3600, places=1).map("{}s".format),
)
filters = st.one_of(
    st.sampled_from(["", "IRCUT", "LP", "ircut", "Dual Band", "Hβ"]),
    st.text(st.characters(exclude_characters="/\0_", exclude_categories=["Cs"]), max_size=20),
).filter(lambda text: not _EXPOSURE.fullmatch(text))
extensions = st.sampled_from([".fit", ".fits", ".FIT", ".FITS", ".Fit"])
frame_counts = st.integers(0, 999_999)
seconds = st.datetimes(datetime(1900, 1, 1), datetime(9998, 12, 31)).map(  # noqa: DTZ001 - the wall clock of a name
    lambda moment: moment.replace(microsecond=0)
)

# Any instant, told in any zone of the world.
instants = st.datetimes(
    datetime(1900, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(9998, 12, 31),  # noqa: DTZ001 - Hypothesis adds the zone
    timezones=st.timezones(),
)
# Those of the world's zones, −12 h to +14 h.
quarter_hour_offsets = st.integers(-48, 56).map(lambda quarters: timedelta(minutes=15 * quarters))
