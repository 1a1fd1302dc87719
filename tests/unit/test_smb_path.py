"""An smb:// address names a folder of a share, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.smb_path import SmbPath

_CHARACTERS = st.characters(exclude_characters='/\\:*?"<>|', exclude_categories=("Cc", "Cs"))
_COMPONENTS = st.text(_CHARACTERS, min_size=1).filter(lambda text: text not in {".", ".."})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("smb://192.168.1.50/EMMC Images/MyWorks", SmbPath("192.168.1.50", "EMMC Images", "MyWorks")),
        ("smb://192.168.1.50/EMMC%20Images/MyWorks/", SmbPath("192.168.1.50", "EMMC Images", "MyWorks")),
        ("smb://nas:4450/stacks", SmbPath("nas", "stacks", "", 4450)),
        ("smb://[fe80::1%eth0]/s/a/b", SmbPath("fe80::1%eth0", "s", "a/b")),
    ],
)
def test_addresses_of_shares(text: str, path: SmbPath) -> None:
    assert SmbPath.parse(text) == path


@given(
    host=st.sampled_from(["nas", "192.168.1.50", "fe80::1", "tele-scope.local"]),
    parts=st.lists(_COMPONENTS, min_size=1, max_size=4),
    port=st.integers(1, 65535),
)
def test_what_is_written_is_read_back(host: str, parts: list[str], port: int) -> None:
    path = SmbPath(host, parts[0], "/".join(parts[1:]), port)
    assert SmbPath.parse(str(path)) == path


@pytest.mark.parametrize(
    "text",
    [
        "smb://",
        "smb://nas",
        "smb://nas/",
        "smb:///share",
        "smb://nas:0/share",
        "smb://nas:99999/share",
        "smb://nas/share/../other",
        "smb://nas/share/a%2Fb",
        "smb://nas/share/a%00b",
        "smb://nas/sha\\re",
        "http://nas/share",
    ],
)
def test_what_names_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        SmbPath.parse(text)


def test_a_password_has_no_place_in_an_address_and_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="as guest") as refusal:
        SmbPath.parse("smb://me:s3cret@nas/share")
    assert "s3cret" not in str(refusal.value)


def test_a_path_below_is_written_as_smb_does() -> None:
    path = SmbPath("nas", "share", "MyWorks")
    assert path.in_share() == "MyWorks"
    assert path.in_share("M 94_sub/a.fit") == r"MyWorks\M 94_sub\a.fit"
    assert SmbPath("nas", "share").in_share() == ""
