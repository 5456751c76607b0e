"""Makes log records of what children print and ships them under the supervisor's own identity.

    Lines → thread: fold, redact → LogShipper, its spool → `logs.terminal`, where nobody else may publish

A line is a record of category TERMINAL, named after its child. What belongs to the line before it is folded into its record: a
traceback with its causes, indented lines, a private key in PEM (of which nothing could be recognised line by line). Lines that
our own services log are left out, since they ship those themselves.
"""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from loguru import logger

from cli.terminal import Line, Lines
from mesh.ids import new_id
from mesh.messaging import Messaging
from mesh.messaging.client import TlsFiles
from mesh.redaction import clip, redactor
from mesh.tasks import TaskSet
from mesh.telemetry.lines import escape
from mesh.telemetry.logs import redact_record
from mesh.telemetry.records import cut_text, severity_of
from mesh.telemetry.shipper import LogShipper
from mesh.version import VERSION
from vivesphere.logging.v1 import log_record_pb2

KiB: Final = 1024
SENDER: Final = "terminal"
"""Last part of the subject; the logging service lets only this one speak for others."""
MAX_BODY_BYTES: Final = 64 * KiB
MAX_FOLDED_LINES: Final = 200
FOLD_SECONDS: Final = 0.5
"""How long a record waits for a line that belongs to it."""
LOOK_SECONDS: Final = 0.2
CLOSE_SECONDS: Final = 1.0
FLUSH: Final = timedelta(seconds=1)
SHED: Final = "terminal lines shed"

_ANSI: Final = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])"
)
_TRACEBACK: Final = "Traceback (most recent call last):"
_GROUP: Final = "  + Exception Group Traceback"
_CHAIN: Final = (
    "During handling of the above exception",
    "The above exception was the direct cause",
    _TRACEBACK,
)
_OWN_START: Final = '{"time":"'
_OWN_FIELDS: Final = frozenset({"time", "severity", "body", "service", "instance"})


class Fold:
    """The record of one child's stream that is still being put together. Not thread-safe."""

    def __init__(self) -> None:
        self.touched = 0.0
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []
        self._bytes = self._cut = 0
        self._first: Line | None = None
        self._in_traceback = self._told_exception = self._in_key = False

    def add(self, line: Line, now: float) -> log_record_pb2.LogRecord | None:
        """Take the next line; returns the record before it if that is complete by now."""
        text = _clean(line.text)
        done = None
        if self._first is not None and not self._continues(text, len(line.text)):
            done = self.finish()
        if self._first is None and not text.strip():
            return done
        if self._first is None:
            self._first = line
        self._lines.append(text)
        self._bytes += len(line.text)
        self._cut += line.cut_bytes
        self._notice(text)
        self.touched = now
        return done

    def finish(self) -> log_record_pb2.LogRecord | None:
        """What was put together so far, if anything was."""
        first, text, cut = self._first, "\n".join(self._lines).rstrip(), self._cut
        self._begin()
        return None if first is None else _record(first, text, cut)

    def _continues(self, text: str, size: int) -> bool:
        if len(self._lines) >= MAX_FOLDED_LINES or self._bytes + size > MAX_BODY_BYTES:
            return False
        if self._in_key:
            return True
        if text.startswith((" ", "\t")):
            return self._in_traceback or not text.startswith(_GROUP)
        if not self._in_traceback:
            return False
        # Behind the frames comes the exception's own line, then perhaps the exception that it led to.
        return not text or not self._told_exception or _holds(text, _CHAIN)

    def _notice(self, text: str) -> None:
        if _TRACEBACK in text:
            # A group's is indented to its last line.
            self._in_traceback, self._told_exception = True, text.startswith(_GROUP)
        elif self._in_traceback and text and not text.startswith((" ", "\t")) and not _holds(text, _CHAIN):
            self._told_exception = True
        if "-----BEGIN " in text and "PRIVATE KEY" in text:
            self._in_key = True
        if "-----END " in text:
            self._in_key = False


class Folding:
    """Lines of all children in, records out. `ship_themselves` are the children whose own log lines are left out."""

    def __init__(self, ship_themselves: Collection[str]) -> None:
        self._ship_themselves = frozenset(ship_themselves)
        self._folds: dict[tuple[str, int, str], Fold] = {}

    def add(self, line: Line, now: float) -> Iterator[log_record_pb2.LogRecord]:
        """The records that are complete with this line."""
        key = (line.source, line.pid, line.stream)
        fields = _own_fields(line)
        if fields is None:
            fold = self._folds.setdefault(key, Fold())
            done = fold.add(line, now)
        else:
            done = self._folds.pop(key, Fold()).finish()
        if done is not None:
            yield done
        if fields is not None and line.source not in self._ship_themselves:
            yield _own_record(line, fields)

    def finish(self, before: float) -> Iterator[log_record_pb2.LogRecord]:
        """The records to which nothing was added since."""
        for key, fold in list(self._folds.items()):
            if fold.touched <= before:
                del self._folds[key]
                if (done := fold.finish()) is not None:
                    yield done


class TerminalShipping:
    """Runs from `start` to `close`; see the module. `directory` holds the spool."""

    def __init__(
        self, lines: Lines, nats_url: str, tls: TlsFiles, directory: Path, ship_themselves: Collection[str]
    ) -> None:
        self._lines = lines
        self._folding = Folding(ship_themselves)
        self._messaging = Messaging("supervisor", nats_url, tls)
        self._shipper = LogShipper(
            SENDER, f"supervisor-{socket.gethostname()}", self._messaging, directory, version=VERSION
        )
        self._tasks = TaskSet()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="terminal", daemon=True)

    async def start(self) -> None:
        """Connect in the background. What this process logs itself goes the same way, instead of between a person's lines."""
        logger.remove()
        logger.configure(patcher=redact_record)
        self._shipper.attach("WARNING")
        self._tasks.spawn(self._messaging.run(), name="terminal messaging")
        self._tasks.spawn(self._shipper.run(), name="terminal shipper")
        self._thread.start()

    async def close(self) -> None:
        """Make records of what is there, send or spool them."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)
        await self._shipper.close(FLUSH)
        await self._tasks.close()

    def _work(self) -> None:
        looked = time.monotonic()
        while True:
            line = self._lines.take(LOOK_SECONDS)
            now = time.monotonic()
            if line is not None:
                self._ship(self._folding.add(line, now))
            if line is None or now - looked > LOOK_SECONDS:
                looked = now
                self._ship(self._folding.finish(now - FOLD_SECONDS))
                if dropped := self._lines.take_dropped():
                    self._shipper.add(_dropped_record(dropped))
            if line is None and self._closing.is_set():
                self._ship(self._folding.finish(now))
                return

    def _ship(self, records: Iterator[log_record_pb2.LogRecord]) -> None:
        for record in records:
            self._shipper.add(record)


def _holds(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)


def _clean(text: bytes) -> str:
    """A line as text without colours; what is no UTF-8 and no printable character is written as an escape, indentation stays."""
    plain = _ANSI.sub("", text.decode("utf-8", "backslashreplace")).rstrip("\r")
    if plain.isascii() and plain.isprintable():
        return plain
    return "\t".join(escape(part) for part in plain.split("\t"))


def _record(line: Line, text: str, cut: int) -> log_record_pb2.LogRecord:
    clean = redactor.text(text)
    # The last word may be half a secret.
    body, more = cut_text(clip(clean, len(clean) - 1) if cut else clean, MAX_BODY_BYTES)
    attributes: dict[str, Any] = {"log.iostream": line.stream}
    if cut or more:
        attributes["log.cut_bytes"] = cut + more
    return _base(line, body, attributes)


def _own_record(line: Line, fields: dict[str, Any]) -> log_record_pb2.LogRecord:
    """What one of our processes that ships nothing itself logs: its fields and severity are known."""
    body, cut = cut_text(redactor.text(str(fields["body"])), MAX_BODY_BYTES)
    attributes = dict(list(redactor.fields(fields.get("attributes") or {}).items())[:60])
    attributes["log.iostream"] = line.stream
    if cut:
        attributes["log.cut_bytes"] = cut
    record = _base(line, body, attributes)
    record.severity_text = str(fields["severity"])[:32]
    try:
        record.severity = severity_of(logger.level(record.severity_text).no)
    except ValueError:
        record.severity = log_record_pb2.SEVERITY_UNSPECIFIED
    return record


def _base(line: Line, body: str, attributes: dict[str, Any]) -> log_record_pb2.LogRecord:
    record = log_record_pb2.LogRecord(
        id=new_id(),
        category=log_record_pb2.LOG_CATEGORY_TERMINAL,
        body=body,
        service=line.source[:64],
        instance=f"{socket.gethostname()[:64]}/{line.pid}",
    )
    record.time.FromNanoseconds(line.time_ns)
    record.observed_time.CopyFrom(record.time)
    record.attributes.update(attributes)
    return record


def _dropped_record(dropped: dict[str, int]) -> log_record_pb2.LogRecord:
    line = Line(SENDER, 0, "stdout", b"", 0, time.time_ns())
    record = _base(line, SHED, {"count": sum(dropped.values()), "by_process": dropped})
    record.severity, record.severity_text = log_record_pb2.SEVERITY_WARN, "WARNING"
    return record


def _own_fields(line: Line) -> dict[str, Any] | None:
    """The fields of a line that our logging wrote for this very child; None for anything else."""
    if line.cut_bytes or not line.text.startswith(_OWN_START.encode()):
        return None
    try:
        fields = json.loads(line.text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not fields.keys() >= _OWN_FIELDS or fields["service"] != line.source:
        return None
    return fields if isinstance(fields.get("attributes", {}), dict) else None
