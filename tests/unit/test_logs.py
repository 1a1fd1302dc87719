"""Logs are facts in one form, whoever writes them. Each runs in a process of its own: logging is global."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

_BEGIN = """
import logging, threading, structlog
from skyrelay.logs import configure_logs, get_logger
configure_logs("intake", level={level!r}, readable={readable})
log = get_logger("skyrelay.test")
"""


def stderr_of(body: str, level: str = "INFO", readable: bool = False) -> str:
    program = _BEGIN.format(level=level, readable=readable) + body
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    return ran.stderr


def records(body: str, level: str = "INFO") -> list[dict[str, object]]:
    return [json.loads(line) for line in stderr_of(body, level).splitlines()]


def test_a_fact_is_a_line_of_json_with_its_names() -> None:
    (record,) = records("log.info('block stacked', target='M 94', frames=32)")
    at = datetime.fromisoformat(str(record.pop("timestamp")))
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert record == {
        "service": "intake",
        "logger": "skyrelay.test",
        "level": "info",
        "event": "block stacked",
        "target": "M 94",
        "frames": 32,
    }


def test_libraries_speak_in_the_same_form() -> None:
    (record,) = records("logging.getLogger('some.library').warning('lost %s', 'contact')")
    assert (record["service"], record["logger"], record["level"], record["event"]) == (
        "intake", "some.library", "warning", "lost contact",
    )  # fmt: skip
    assert "timestamp" in record


def test_bound_names_are_on_every_line_until_they_are_unbound() -> None:
    body = """
with structlog.contextvars.bound_contextvars(telescope="garden"):
    log.info("inside")
    logging.getLogger("some.library").warning("inside")
log.info("outside")
"""
    assert [record.get("telescope") for record in records(body)] == ["garden", "garden", None]


def test_a_thread_names_its_service_too() -> None:
    body = """
thread = threading.Thread(target=lambda: log.info("from a thread"))
thread.start()
thread.join()
"""
    assert [record["service"] for record in records(body)] == ["intake"]


def test_an_exception_is_told_in_the_record() -> None:
    body = """
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it broke")
    logging.getLogger("some.library").exception("it broke")
"""
    ours, theirs = records(body)
    for record in (ours, theirs):
        assert record["level"] == "error"
        assert "ZeroDivisionError: division by zero" in str(record["exception"])


def test_what_is_below_the_level_is_left_out() -> None:
    body = "log.debug('d'); log.info('i'); log.warning('w'); logging.getLogger('x').info('i')"
    assert [record["event"] for record in records(body, "WARNING")] == ["w"]
    assert [record["event"] for record in records(body, "DEBUG")] == ["d", "i", "w", "i"]


def test_chatty_libraries_are_quiet() -> None:
    assert (
        records("for name in ('urllib3', 'kombu', 'smbprotocol'): logging.getLogger(name).info('chat')") == []
    )


def test_a_terminal_gets_readable_lines() -> None:
    text = stderr_of("log.info('block stacked', target='M 94')", readable=True)
    assert "block stacked" in text
    assert "M 94" in text
    assert not text.startswith("{")


def test_configuring_again_says_nothing_twice() -> None:
    body = (
        "configure_logs('intake', readable=False); log.info('once'); logging.getLogger('x').warning('once')"
    )
    assert [record["event"] for record in records(body)] == ["once", "once"]


def test_a_traceback_shows_no_values_of_variables() -> None:
    body = """
def sign_in(password):
    raise RuntimeError("refused")
try:
    sign_in("hun" + "ter2")
except RuntimeError:
    log.exception("it broke")
"""
    for readable in (True, False):
        text = stderr_of(body, readable=readable)
        assert "RuntimeError" in text
        assert "hunter2" not in text


def test_no_name_from_outside_begins_a_line_of_its_own_or_speaks_to_the_terminal() -> None:
    forged = "x\\n2026-03-01 [info] somebody has logged in\\x1b[2J\\u2028\\x9b"
    calls = ("log.info('refused', name='{0}')", "log.info('{0}')", "logging.getLogger('a').error('{0}')")
    body = "\n".join(each.format(forged) for each in calls)
    for readable in (True, False):
        written = stderr_of(body, readable=readable)
        assert len(written.splitlines()) == 3
        assert "\x1b[2J" not in written
        assert "\x9b" not in written
    with_traceback = "\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('broke')"
    assert len(stderr_of(with_traceback, readable=True).splitlines()) > 3, "tracebacks keep their lines"
