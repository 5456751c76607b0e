"""Sets up loguru as the one way out for logs: redaction first, standard output, and the standard library's logging led into it.

Redaction is loguru's patcher, so it runs before every sink, also one that somebody adds later. Our own sinks only queue a snapshot;
lines and `LogRecord`s are made from it outside of the call that logs. Tracebacks become text there, without
local variables, and pass the redactor as well; sinks never see the exception itself. `diagnose` and `backtrace` stay off: the first
prints the values of variables. Loggers of libraries that write tokens or signatures at DEBUG are pinned to WARNING.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

from loguru import logger

from mesh.redaction import clip, redactor
from mesh.telemetry.backlog import Shed
from mesh.telemetry.console import Console
from mesh.telemetry.lines import STACK, human_line, json_line
from mesh.telemetry.snapshot import Snapshot, snapshot_of

if TYPE_CHECKING:
    from loguru import Record

PINNED: Final = (
    "tweepy",
    "oauthlib",
    "requests_oauthlib",
    "urllib3",
    "hvac",
    "nats",
    "aiohttp",
    "httpx",
    "httpcore",
)
"""tweepy logs `Authorization` headers at DEBUG, oauthlib signature base strings; the others log URLs and bodies."""
MAX_MESSAGE_CHARS: Final = 128 * 1024
MAX_STACK_CHARS: Final = 16_384
LINES_SHED: Final = "log lines shed"
LEVELS: Final = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")


def configure(
    service: str,
    instance: str,
    level: str = "INFO",
    *,
    console: TextIO | None = None,
    enrich: "Callable[[Record], None] | None" = None,
) -> None:
    """Replace every sink by one on `console` (standard output by default): compact lines on a terminal, JSON lines otherwise. May
    be called again. `enrich` adds fields to each record before it is redacted. Raises ValueError for an unknown level."""
    least = level.upper()
    if least not in LEVELS:
        raise ValueError(f"log_level: {level!r} is none of {', '.join(LEVELS)}")
    stream = console or sys.stdout
    logger.remove()
    logger.configure(patcher=_patcher(enrich))
    _replace_console(_console(stream, service, instance))
    add_sink(_consoles[0].put, least)
    _intercept(logger.level(least).no)


def _patcher(enrich: "Callable[[Record], None] | None") -> "Callable[[Record], None]":
    if enrich is None:
        return redact_record

    def patch(record: "Record") -> None:
        enrich(record)
        redact_record(record)

    return patch


def add_sink(take: Callable[[Snapshot], None], level: str) -> int:
    """Give `take` a snapshot of each redacted record of this severity and above; it must neither wait nor raise. Returns the sink's number.

    It is called as a filter that lets nothing through: loguru then makes no text of the record and takes no lock, which it would not
    take twice, so that finalizers and signal handlers may log, and a fork finds nothing locked.
    """

    def no_text(record: "Record") -> bool:
        # One snapshot for all sinks; the record is loguru's dictionary for this one call.
        snapshot = record.get("snapshot")
        if snapshot is None:
            snapshot = record["snapshot"] = snapshot_of(record)  # type: ignore[typeddict-unknown-key]
        take(snapshot)  # type: ignore[arg-type]
        return False

    # loguru's queue (`enqueue`) deadlocks on fork and in signal handlers; `diagnose` prints the values of variables.
    return logger.add(
        _nowhere,
        level=level,
        format="",
        filter=no_text,
        diagnose=False,
        backtrace=False,
        enqueue=False,
        catch=True,
    )


def _nowhere(_: object) -> None:
    """What the filter stands before."""


def redact_record(record: "Record") -> None:
    """Take secrets out of message, fields and exception of a record, in place. If that fails, everything goes but the event's place."""
    try:
        exception = record["exception"]
        record["message"] = redactor.constant(clip(record["message"], MAX_MESSAGE_CHARS))
        fields: dict[str, Any] = redactor.fields(record["extra"])
        if exception is not None:
            record["exception"] = None
            fields.update(_exception_fields(exception.type, exception.value, exception.traceback))
        record["extra"] = fields
    except Exception as error:
        record["exception"] = None
        record["message"] = "log record could not be redacted"
        record["extra"] = {"error_type": type(error).__name__}


def _exception_fields(kind: Any, value: Any, trace: Any) -> dict[str, str]:
    if kind is None:
        return {}
    text = clip("".join(traceback.format_exception(kind, value, trace)), MAX_MESSAGE_CHARS)
    return {
        "exception.type": kind.__qualname__,
        "exception.message": redactor.text(clip(str(value))),
        # Redacted before it is cut; the end of a traceback says most.
        STACK: redactor.text(text)[-MAX_STACK_CHARS:],
    }


_consoles: list[Console] = []


def _replace_console(console: Console) -> None:
    while _consoles:
        _consoles.pop().close()
    _consoles.append(console)


def _console(stream: TextIO, service: str, instance: str) -> Console:
    """Compact lines on a terminal, JSON lines otherwise."""

    def render(snapshot: Snapshot) -> str:
        return human_line(snapshot, service) if human else json_line(snapshot, service, instance)

    def told(shed: Shed) -> str:
        fields = {"count": shed.total, "by_severity": shed.by_severity}
        level = logger.level("WARNING")
        return render(Snapshot(datetime.now(UTC), level.no, level.name, LINES_SHED, __name__, fields))

    human = stream.isatty()
    return Console(stream, render, told)


class InterceptHandler(logging.Handler):
    """Hands records of the standard library's logging to loguru, with the caller's place and exception."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        try:
            message = record.getMessage()
        except Exception:
            message = str(record.msg)
        logger.patch(_named(record)).opt(exception=record.exc_info).log(level, message)


def _named(record: logging.LogRecord) -> Any:
    def patch(target: "Record") -> None:
        target["name"], target["function"], target["line"] = record.name, record.funcName, record.lineno

    return patch


def _intercept(level: int) -> None:
    logging.basicConfig(handlers=[InterceptHandler()], level=level, force=True)
    logging.captureWarnings(True)
    for name in PINNED:
        logging.getLogger(name).setLevel(logging.WARNING)
