"""Whatever is logged or printed: nobody's call fails, the console shows one line, and the record is one that the store takes."""

import io
import json
import os
import random
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import protovalidate
import pytest
from loguru import logger

from cli.terminal import LineSplitter
from cli.terminal_shipping import Folding, Line
from mesh.telemetry import configure
from mesh.telemetry.compression import decompress, headers_of
from mesh.telemetry.shipper import LogShipper
from tests.fakes.hostile import hostile
from tests.fakes.logs import logging_restored
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

LONG = os.environ.get("VIVESPHERE_TEST_PROFILE") == "long"
LINES = 1_000_000 if LONG else 10_000
"""Of each of the two ways in."""
SEED = int.from_bytes(os.urandom(4)) if LONG else 7
"""Chance is for the long runs: a suite that decides what lands has to say the same of the same code."""
CHUNK = 500
MiB = 1024 * 1024


class Bus:
    """Keeps every record, and checks it as the store does."""

    connected = True

    def __init__(self) -> None:
        self.count = 0

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: object = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        assert len(payload) < MiB - 4096
        batch = log_batch_pb2.LogBatch.FromString(decompress(payload, headers_of(payload)))
        protovalidate.validate(batch)
        for record in batch.records:
            protovalidate.validate(record)
            assert log_record_pb2.LogRecord.FromString(record.SerializeToString()) == record
        self.count += len(batch.records)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clean_logging() -> Iterator[None]:
    with logging_restored():
        yield


def _log(line: str, n: int) -> None:
    """As text, as argument, as field, as name of a field, in an exception: a different one each time."""
    way: Any = n % 5
    if way == 0:
        logger.info(line)
    elif way == 1:
        logger.info("event {}", line)
    elif way == 2:
        logger.bind(note=line, nested=[{line: (line, line.encode("utf-8", "surrogatepass"))}]).info("event")
    elif way == 3:
        logger.bind(
            **{line: line}, request_id=line, trace_id=line, bot_id=line, actor=line, category=line
        ).info("event")
    else:
        logger.opt(exception=ValueError(line)).warning("event")


@pytest.mark.parametrize("human", [False, True], ids=["json", "terminal"])
async def test_hostile_lines_that_are_logged(tmp_path: Path, human: bool) -> None:
    """Attackers choose user names, user agents and posts; all of them are logged somewhere."""
    stream = Terminal() if human else io.StringIO()
    configure("tester", "tester-1", "TRACE", console=stream)
    bus = Bus()
    shipper = LogShipper("tester", "tester-1", bus, tmp_path)
    shipper.attach("TRACE")
    shown = 0
    for n, line in enumerate(hostile(LINES // 2, SEED)):
        _log(line, n)
        if n % CHUNK == CHUNK - 1:
            await shipper.flush()
            shown += _check_shown(stream.getvalue(), human=human)
            stream.seek(0)
            stream.truncate()
    await shipper.close()
    shown += _check_shown(stream.getvalue(), human=human)
    assert (shown, bus.count) == (LINES // 2, LINES // 2)


def _check_shown(text: str, *, human: bool) -> int:
    """The number of records shown; a person sees a traceback on indented lines of its own."""
    lines = text.split("\n")
    assert lines.pop() == ""
    assert text.isascii() or human
    assert len(text.splitlines()) == len(lines)
    records = [line for line in lines if not (human and line.startswith("    "))]
    for line in records:
        if human:
            assert line[2] == line[5] == ":"
            assert not set(line) & {"\x00", "\x07", "\u202e", "\u2066", "\ufeff", "\x9b"}
            assert "\x1b[2J" not in line
        else:
            json.loads(line)
    return len(records)


def test_hostile_lines_that_are_printed() -> None:
    """A process may print anything, in pieces of any size."""
    dice = random.Random(SEED)  # noqa: S311 - made-up lines
    folding, count = Folding(["tester"]), 0

    def on_line(text: bytes, cut: int) -> None:
        nonlocal count
        for record in folding.add(Line("tester", 1, "stdout", text, cut, 1), count):
            protovalidate.validate(record)
            odd = set(record.body) - {"\n", "\t"}
            assert not {unicodedata.category(one) for one in odd} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
            count += 1

    splitter = LineSplitter(lambda _: None, on_line)
    for n, line in enumerate(hostile(LINES, SEED + 1)):
        data = line.encode("utf-8", "surrogatepass") if n % 2 else line.encode("utf-16", "surrogatepass")
        cut = dice.randrange(len(data) + 1)
        splitter.feed(data[:cut])
        splitter.feed(data[cut:] + b"\n")
    splitter.close()
    for record in folding.finish(float("inf")):
        protovalidate.validate(record)
        count += 1
    assert count > LINES // 2
