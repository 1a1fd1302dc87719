"""The body of an upload: exact length, whatever the pieces; the site's cards blank."""

from __future__ import annotations

import os
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyrelay.crowdsky.body import StreamedForm, stack_form
from skyrelay.crowdsky.errors import StackUnreadable
from skyrelay.crowdsky.stacks import StackUpload
from skyrelay.errors import TransientError
from skyrelay.fits_header import HeaderIncomplete, NotFits
from support.fits_files import fits_bytes, write_fits

DATA = bytes(range(256)) * 100


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fits(tmp_path_factory.mktemp("body") / "stack.fit", DATA)


def read_all(form: StreamedForm, piece: int) -> bytes:
    return b"".join(iter(lambda: form.read(piece), b""))


@given(piece=st.integers(1, 40_000), scrubs=st.booleans())
def test_its_length_is_true_in_pieces_of_any_size(stack: Path, piece: int, *, scrubs: bool) -> None:
    with stack_form(StackUpload(stack, "stack.fit", scrub_location=scrubs)) as form:
        promised = form.len
        body = read_all(form, piece)

    assert len(body) == promised == form.sent
    assert form.all_sent
    assert (b"SITELAT" in body) is not scrubs
    assert DATA in body


def test_a_name_cannot_break_out_of_its_place(stack: Path) -> None:
    name = 'a"; filename="b\r\nX-Evil: 1\r\n\r\n.fit'
    with stack_form(StackUpload(stack, name)) as form:
        body = read_all(form, 16_384)

    message = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {form.content_type}\r\n\r\n".encode() + body
    )
    file = list(message.iter_parts())[-1]
    assert file["X-Evil"] is None
    assert file.get_payload(decode=True) is not None
    assert b"\r\nX-Evil" not in body


def test_a_file_that_shrinks_ends_the_reading(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "stack.fit", bytes(1_000_000))

    with stack_form(StackUpload(path, "stack.fit")) as form:
        form.read(16_384)
        os.truncate(path, 10_000)
        with pytest.raises(StackUnreadable):
            read_all(form, 16_384)
    assert issubclass(StackUnreadable, TransientError)


def test_a_file_that_grows_is_sent_as_it_was(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "stack.fit", DATA)

    with stack_form(StackUpload(path, "stack.fit")) as form, path.open("ab") as file:
        promised = form.len
        file.write(b"more")
        file.flush()
        assert len(read_all(form, 1000)) == promised


@pytest.mark.parametrize(
    ("content", "kind"), [(b"", HeaderIncomplete), (fits_bytes()[:1000], HeaderIncomplete), (b"no", NotFits)]
)
def test_a_header_that_cannot_be_read_cannot_be_cleaned(
    tmp_path: Path, content: bytes, kind: type[Exception]
) -> None:
    path = tmp_path / "stack.fit"
    path.write_bytes(content)

    with pytest.raises(kind), stack_form(StackUpload(path, "stack.fit")):
        pass
    with stack_form(StackUpload(path, "stack.fit", scrub_location=False)) as form:
        assert content in read_all(form, 100)


def test_a_folder_is_no_stack(tmp_path: Path) -> None:
    with pytest.raises(StackUnreadable, match="cannot be opened"), stack_form(StackUpload(tmp_path, "x.fit")):
        pass
