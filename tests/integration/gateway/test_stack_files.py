"""What can be had of a stack over HTTP: pictures, the file in parts, the header; and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from skyrelay.domain.states import BlockState
from skyrelay.settings import ArchiveSettings, Settings
from skyrelay.store.engine import Store
from skyrelay.store.tables import Stack
from support.gateway import GatewayClient, running_gateway
from support.recorded_night import RecordedNight

EVENING = datetime(2025, 3, 26, 21, 15)  # noqa: DTZ001 - a telescope's wall clock
JPEG = b"\xff\xd8\xff\xe0 a small picture"
NAME = "CrowdSky_30_M 81_10.0s_IRCUT_20250327.05_HP033810.fit"


def fits_bytes() -> bytes:
    image = fits.PrimaryHDU(data=[[1, 2], [3, 4]])
    image.header["OBJECT"] = "M 81"
    image.header["SITELAT"] = 48.123
    image.header["SITELONG"] = 11.456
    file = io.BytesIO()
    image.writeto(file)
    return file.getvalue()


FITS = fits_bytes()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Give an archive with one stack's file and pictures in it, and a secret beside it."""
    folder = tmp_path / "archive" / "garden" / "M 81"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(FITS)
    (folder / "small.jpg").write_bytes(JPEG)
    (folder / "large.jpg").write_bytes(JPEG + b", larger")
    (tmp_path / "secret").write_bytes(JPEG + b" secret")
    return tmp_path / "archive"


@pytest.fixture
def stack(store: Store, archive: Path) -> Stack:
    """Record that stack: its id is 1."""
    with store.write() as session:
        night = RecordedNight(session)
        stack = night.stack(night.block(night.telescope(), "M 81", EVENING, BlockState.STACKED))
        stack.crowdsky_name = NAME
        stack.archive_path, stack.sha256 = f"garden/M 81/{NAME}", sha256(FITS).hexdigest()
        stack.thumbnail_path, stack.thumbnail_sha256 = "garden/M 81/small.jpg", sha256(JPEG).hexdigest()
        stack.picture_path = "garden/M 81/large.jpg"
        return stack


@pytest.fixture
def gateway(store: Store, archive: Path, stack: Stack) -> Iterator[GatewayClient]:
    """Give a gateway on that archive; Redis is away."""
    settings = Settings(setup="done", archive=ArchiveSettings(path=archive))
    with running_gateway(store, "unix:///nowhere/redis.sock", settings) as client:
        yield client


def change(store: Store, **columns: Any) -> None:
    with store.write() as session:
        row = session.get_one(Stack, 1)
        for name, value in columns.items():
            setattr(row, name, value)


def test_a_stack_says_everything_about_itself(gateway: GatewayClient) -> None:
    one = gateway.read("/api/v1/stacks/1")
    assert one == gateway.read("/api/v1/stacks")["items"][0]
    assert one["name"] == NAME


def test_the_file_comes_whole_under_its_name(gateway: GatewayClient) -> None:
    answer = gateway.get("/api/v1/stacks/1/fits")
    assert answer.status_code == 200
    assert answer.content == FITS
    assert answer.headers["content-type"] == "application/fits"
    assert answer.headers["content-length"] == str(len(FITS))
    assert answer.headers["accept-ranges"] == "bytes"
    assert f'filename="{NAME}"' in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "private, no-cache"


def test_a_download_goes_on_where_it_ended(gateway: GatewayClient) -> None:
    first = gateway.send("GET", "/api/v1/stacks/1/fits", headers={"Range": "bytes=0-2879"})
    assert (first.status_code, first.headers["content-range"]) == (206, f"bytes 0-2879/{len(FITS)}")
    resume = {"Range": "bytes=2880-", "If-Range": first.headers["etag"]}
    rest = gateway.send("GET", "/api/v1/stacks/1/fits", headers=resume)
    assert rest.status_code == 206
    assert first.content + rest.content == FITS
    by_date = {"Range": "bytes=2880-", "If-Range": first.headers["last-modified"]}
    assert gateway.send("GET", "/api/v1/stacks/1/fits", headers=by_date).content == rest.content


def test_a_file_that_changed_since_comes_whole(gateway: GatewayClient, archive: Path) -> None:
    tag = gateway.get("/api/v1/stacks/1/fits").headers["etag"]
    file = archive / "garden" / "M 81" / NAME
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    answer = gateway.send("GET", "/api/v1/stacks/1/fits", headers={"Range": "bytes=2880-", "If-Range": tag})
    assert (answer.status_code, answer.content) == (200, FITS)
    assert answer.headers["etag"] != tag


def test_a_range_behind_the_end_is_refused_in_words(gateway: GatewayClient) -> None:
    answer = gateway.send("GET", "/api/v1/stacks/1/fits", headers={"Range": f"bytes={len(FITS)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(FITS)}"
    assert answer.headers["content-type"] == "application/problem+json"


def test_who_has_the_file_already_gets_no_bytes(gateway: GatewayClient) -> None:
    for path in ("fits", "preview"):
        tag = gateway.get(f"/api/v1/stacks/1/{path}").headers["etag"]
        again = gateway.send("GET", f"/api/v1/stacks/1/{path}", headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        other = gateway.send("GET", f"/api/v1/stacks/1/{path}", headers={"If-None-Match": '"other"'})
        assert other.status_code == 200


def test_a_head_tells_of_the_file_without_it(gateway: GatewayClient) -> None:
    answer = gateway.send("HEAD", "/api/v1/stacks/1/fits")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(FITS))
    assert answer.headers["etag"] == gateway.get("/api/v1/stacks/1/fits").headers["etag"]
    assert gateway.send("HEAD", "/api/v1/stacks/1/preview").headers["content-type"] == "image/jpeg"


def test_a_preview_comes_in_two_sizes(gateway: GatewayClient, store: Store) -> None:
    small = gateway.get("/api/v1/stacks/1/preview")
    assert (small.headers["content-type"], small.content) == ("image/jpeg", JPEG)
    large = gateway.get("/api/v1/stacks/1/preview", size="picture")
    assert large.content == JPEG + b", larger"
    change(store, picture_path=None)
    assert gateway.get("/api/v1/stacks/1/preview", size="picture").content == JPEG
    assert gateway.get("/api/v1/stacks/1/preview", size="huge").status_code == 422


def test_the_header_does_not_tell_where_the_telescope_stands(gateway: GatewayClient) -> None:
    header = gateway.read("/api/v1/stacks/1/header")
    assert header["stack_id"] == 1
    assert header["cards"]["OBJECT"] == "M 81"
    assert header["cards"]["NAXIS1"] == 2
    assert header["cards"]["SIMPLE"] is True
    assert "SITELAT" not in header["cards"]
    assert "48.123" not in gateway.get("/api/v1/stacks/1/header").text


@pytest.mark.parametrize("path", ["", "/fits", "/preview", "/header"])
def test_a_stack_that_is_not_there_is_not_found(gateway: GatewayClient, path: str) -> None:
    answer = gateway.get(f"/api/v1/stacks/99{path}")
    assert answer.status_code == 404
    assert "no stack 99" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"archive_path": None}, "has not been fetched"),
        ({"archive_path": None, "fetch_error": "it sleeps"}, "it sleeps"),
        ({"archive_path": None, "is_offered": True}, "by another tool"),
        ({"removed_at": datetime(2025, 4, 1, tzinfo=UTC)}, "to make room"),
        ({"archive_path": "garden/M 81/gone.fit"}, "No such file"),
    ],
)
def test_a_file_that_cannot_be_had_says_why(
    gateway: GatewayClient, store: Store, columns: dict[str, Any], words: str
) -> None:
    change(store, **columns)
    for path in ("fits", "header"):
        answer = gateway.get(f"/api/v1/stacks/1/{path}")
        assert answer.status_code == 404
        assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "garden/../../secret",
        "/etc/passwd",
        "link",
        "folder/secret",
        "garden",
        "",
        "a\0b",
        "pipe",
    ],
)
def test_no_path_in_the_books_leads_out_of_the_archive(
    gateway: GatewayClient, store: Store, archive: Path, path: str
) -> None:
    (archive / "link").symlink_to(archive.parent / "secret")
    (archive / "folder").symlink_to(archive.parent, target_is_directory=True)
    os.mkfifo(archive / "fifo")
    change(store, archive_path=path, thumbnail_path=path, picture_path=None)
    for route in ("fits", "preview", "header"):
        answer = gateway.get(f"/api/v1/stacks/1/{route}")
        assert answer.status_code == 404
        assert "secret" not in answer.text


def test_what_is_no_picture_is_not_shown_as_one(gateway: GatewayClient, archive: Path) -> None:
    (archive / "garden" / "M 81" / "small.jpg").write_bytes(b"<script>alert(1)</script>")
    answer = gateway.get("/api/v1/stacks/1/preview")
    assert answer.status_code == 404
    assert "script" not in answer.text


def test_a_file_that_is_no_fits_has_no_header(gateway: GatewayClient, archive: Path) -> None:
    (archive / "garden" / "M 81" / NAME).write_bytes(b"not at all")
    answer = gateway.get("/api/v1/stacks/1/header")
    assert answer.status_code == 404
    assert "cannot be read" in answer.json()["detail"]
