"""Logs are facts with bound names: JSON lines in a container, readable lines on a terminal."""

from __future__ import annotations

import logging
import sys

from skyrelay.light_imports import hidden

with hidden("rich"):  # by which it would draw tracebacks; ours are plain, and it costs each process 5 MB
    import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# They say something at every request, tick or task; what goes wrong they say at a higher level.
_CHATTY = (
    "smbprotocol",
    "urllib3",
    "kombu",
    "amqp",
    "watchdog",
    "celery.beat",
    "celery.app.trace",
    "celery.worker.strategy",
    "celery.worker.autoscale",
    "alembic.runtime.plugins",
)

_OUR_LINES = frozenset({"exception", "stack"})


def configure_logs(service: str, *, level: str = "INFO", readable: bool | None = None) -> None:
    """Send structlog's and the standard library's records to stderr in one form.

    Parameters
    ----------
    service
        Bound to each record.
    level
        Least level shown.
    readable
        Coloured lines instead of JSON; unset: where stderr is a terminal.
    """
    readable = sys.stderr.isatty() if readable is None else readable
    shared: list[Processor] = [
        _of_service(service),
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[Processor] = (
        [_in_one_line, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _of_service(service: str) -> Processor:
    # No context variable: a thread begins with none of them.
    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {"service": service, **event}

    return name_service


def _in_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Show what could fake a line, or speak to the terminal, as what it is; tracebacks are ours."""
    return {
        name: _printable(value) if isinstance(value, str) and name not in _OUR_LINES else value
        for name, value in event.items()
    }


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Give the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
