"""What the server's answers mean, and that nothing of them is repeated unclean."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from requests.structures import CaseInsensitiveDict

from skyrelay.crowdsky.answers import MAX_RETRY_AFTER, Answer, Reader, retry_after
from skyrelay.crowdsky.errors import (
    AnswerLost,
    CredentialsRefused,
    FileTooLarge,
    QuotaExceeded,
    ServerBroken,
    ServerBusy,
    UploadRefused,
)
from skyrelay.crowdsky.stacks import UploadReceipt
from skyrelay.errors import AmbiguousError, PermanentError, SkyrelayError, TransientError

UPLOAD = Reader("upload of stack.fit", sending=True, secrets=("YWxpY2U6czNjcmV0", "s3cret"))
LIST = Reader("the list")
PAGE = b"<html><head><title>Bad\n Gateway</title></head><body>nginx</body></html>"
NOW = datetime(2025, 3, 27, 2, 0, tzinfo=UTC)


def answer(status: int = 200, body: object = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status,
        CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()}),
        content,
    )


def error_of(reply: Answer, reader: Reader = UPLOAD) -> SkyrelayError:
    with pytest.raises(SkyrelayError) as caught:
        reader.accepted(reply) if reader.sending else reader.rows(reply)
    return caught.value


def test_ok_gives_a_receipt() -> None:
    good = answer(200, {"ok": True, "job_id": "12", "chunk_key": "20250327.05_HP033810", "status": "queued"})

    assert UploadReceipt.from_answer(UPLOAD.accepted(good)) == UploadReceipt(
        12, "20250327.05_HP033810", "queued"
    )


def test_ok_without_the_rest_is_still_ok() -> None:
    assert UploadReceipt.from_answer(UPLOAD.accepted(answer(200, {"ok": True}))) == UploadReceipt(
        None, None, ""
    )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(401, {"error": "no"}), CredentialsRefused),
        (answer(403, PAGE), CredentialsRefused),
        (answer(400, {"error": "Invalid FITS file (bad header)."}), UploadRefused),
        (answer(422, PAGE), UploadRefused),
        (answer(200, {"error": "Invalid FITS file (bad header)."}), UploadRefused),
        (answer(200, {"ok": False, "message": "no"}), UploadRefused),
        (answer(413, PAGE), FileTooLarge),
        (answer(507, b""), QuotaExceeded),
        (answer(400, {"error": "File exceeds 50 MB limit."}), QuotaExceeded),
        (answer(403, {"error": "Storage quota exceeded."}), QuotaExceeded),
        (answer(200, {"error": "Storage limit reached"}), QuotaExceeded),
        (answer(200, {"error": "Authentication required."}), CredentialsRefused),
        (answer(200, {"error": "Rate limit exceeded, try again later"}), ServerBusy),
        (answer(429, b""), ServerBusy),
        (answer(503, PAGE), ServerBusy),
        (answer(500, PAGE), ServerBroken),
        (answer(502, PAGE), ServerBroken),
        (answer(404, PAGE), ServerBroken),
        (answer(302, b"", Location="https://login.example/?token=abc"), ServerBroken),
        (answer(200, PAGE), ServerBroken),
        (answer(200, b""), ServerBroken),
        (answer(200, b"null"), ServerBroken),
        (answer(200, b"[" * 100_000), ServerBroken),
        (answer(200, b"\xff\xfe"), ServerBroken),
        (answer(200, [1]), ServerBroken),
        (answer(200, {"queued": 1}), ServerBroken),
        (answer(504, PAGE), AnswerLost),
    ],
)
def test_an_answer_to_an_upload_says_what_to_do(reply: Answer, kind: type[SkyrelayError]) -> None:
    assert type(error_of(reply)) is kind


def test_each_kind_is_one_retry_decision() -> None:
    assert issubclass(AnswerLost, AmbiguousError)
    assert all(issubclass(kind, TransientError) for kind in (ServerBusy, ServerBroken))
    assert all(
        issubclass(kind, PermanentError) for kind in (CredentialsRefused, UploadRefused, QuotaExceeded)
    )


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(200, {"error": "Unknown object"}), ServerBroken),
        (answer(400, {"error": "Unknown object"}), ServerBroken),
        (answer(504, PAGE), ServerBroken),
        (answer(200, {"stacks": []}), ServerBroken),
        (answer(200, [{"id": 1}, None]), ServerBroken),
        (answer(200, PAGE), ServerBroken),
        (answer(401, b""), CredentialsRefused),
        (answer(503, b""), ServerBusy),
    ],
)
def test_a_list_that_cannot_be_read_is_never_an_empty_one(reply: Answer, kind: type[SkyrelayError]) -> None:
    assert type(error_of(reply, LIST)) is kind


def test_a_list_may_begin_with_a_byte_order_mark() -> None:
    assert LIST.rows(answer(200, b"\xef\xbb\xbf" + b'[{"id": 1}]')) == [{"id": 1}]


def test_only_an_upload_may_have_been_kept() -> None:
    kept, not_kept = error_of(answer(200, PAGE)), error_of(answer(200, PAGE), LIST)

    assert isinstance(kept, ServerBroken)
    assert isinstance(not_kept, ServerBroken)
    assert (kept.may_be_kept, not_kept.may_be_kept) == (True, False)


def test_a_page_is_named_by_its_title() -> None:
    assert 'a page that says "Bad Gateway"' in str(error_of(answer(502, PAGE)))


def test_a_redirection_is_named_by_its_host_alone() -> None:
    message = str(error_of(answer(302, b"", Location="https://login.example/?token=abc")))

    assert "https://login.example;" in message
    assert "abc" not in message


def test_words_are_cleaned_and_cut() -> None:
    message = str(error_of(answer(400, {"error": "bad\x1b[31m\u202e\r\nfile " + "x" * 1000})))

    assert message.startswith("upload of stack.fit: 400 bad [31m file xxx")
    assert message.endswith("x…")
    assert len(message) <= len("upload of stack.fit: 400 ") + 300
    assert message.isprintable()


@pytest.mark.parametrize(
    "body", [{"error": "s3cret is wrong"}, b"<p>Basic YWxpY2U6czNjcmV0</p>", {"error": ["s3cret"]}]
)
def test_secrets_are_not_repeated(body: object) -> None:
    message = str(error_of(answer(400, body)))

    assert "s3cret" not in message
    assert "YWxpY2U6czNjcmV0" not in message
    assert "•••" in message


def test_a_secret_is_gone_before_the_words_are_cut() -> None:
    message = str(error_of(answer(400, {"error": "x" * 297 + "s3cret"})))

    assert "s3" not in message


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        ({"Retry-After": "120"}, timedelta(seconds=120)),
        ({"Retry-After": " 0 "}, timedelta()),
        ({"Retry-After": "9" * 400}, MAX_RETRY_AFTER),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
        ({"Retry-After": "Thu, 27 Mar 2025 02:05:00 GMT"}, timedelta(minutes=5)),
        ({"Retry-After": "Thu, 27 Mar 2025 01:00:00 GMT"}, timedelta()),
        ({"Retry-After": "Thu, 27 Mar 2099 01:00:00 GMT"}, MAX_RETRY_AFTER),
        (
            {"Retry-After": "Thu, 27 Mar 2031 02:05:00 GMT", "Date": "Thu, 27 Mar 2031 02:04:00 GMT"},
            timedelta(minutes=1),
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_has_bounds(
    given: dict[str, str], wait: timedelta | None
) -> None:
    assert retry_after(CaseInsensitiveDict(given), now=lambda: NOW) == wait


def test_a_busy_server_says_when_to_come_back() -> None:
    busy = error_of(answer(503, PAGE, Retry_After="30"))

    assert isinstance(busy, ServerBusy)
    assert busy.retry_after == timedelta(seconds=30)
