"""Lines are written after the call that logs: none is lost, none comes twice, and nothing that happens to the reader hurts."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from mesh.telemetry import configure
from mesh.telemetry.backlog import Backlog
from mesh.telemetry.console import Console
from mesh.telemetry.logs import LINES_SHED
from mesh.telemetry.snapshot import Snapshot
from tests.fakes.logs import logging_restored

ROOT = Path(__file__).resolve().parents[3]
WATCHDOG_SECONDS = 50
PROLOGUE = """
import os, sys, threading
from pathlib import Path
from loguru import logger
from mesh.telemetry import configure
configure("tester", "tester-1", "DEBUG")
"""


def run(program: str, *arguments: str) -> tuple[list[dict[str, Any]], str, int]:
    """What a process of its own writes to its output as JSON lines, its errors, and how it ended."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROLOGUE + program, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"},
        capture_output=True,
        timeout=WATCHDOG_SECONDS,
        check=False,
    )
    return (
        [json.loads(line) for line in done.stdout.decode().splitlines()],
        done.stderr.decode(),
        done.returncode,
    )


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError('no')", 1)],
    ids=["orderly", "exit", "uncaught"],
)
def test_everything_is_written_in_order_before_the_process_ends(end: str, code: int) -> None:
    """The last lines of a process are the ones that tell why it ended."""
    told, errors, ended = run(f"for n in range(3000): logger.info(f'event {{n}}')\n{end}")
    assert [line["body"] for line in told] == [f"event {n}" for n in range(3000)]
    assert (ended, "ValueError" in errors) == (code, "raise" in end)


def test_an_error_is_written_before_the_call_returns() -> None:
    """What follows the call may be a crash that no exit handler sees; what was logged before it stands before it."""
    told, _, ended = run("logger.info('first')\nlogger.error('second')\nos.kill(os.getpid(), 9)")
    assert [line["body"] for line in told] == ["first", "second"]
    assert ended == -signal.SIGKILL


def test_logging_after_the_writer_has_closed_is_written_too() -> None:
    """Other exit handlers log as well, some of them after ours."""
    told, _, _ = run(
        "from mesh.telemetry import console\nlogger.info('before')\nconsole._at_exit()\nlogger.info('after')"
    )
    assert [line["body"] for line in told] == ["before", "after"]


def test_forks_with_logging_in_flight_neither_hang_nor_double_a_line() -> None:
    """A child inherits locks that nobody will release, and lines that its parent writes."""
    told, errors, ended = run(
        """
stop = threading.Event()
def chatter(name):
    n = 0
    while not stop.wait(0.0005):
        logger.info(f"thread {name} {n}")
        n += 1
threads = [threading.Thread(target=chatter, args=(name,)) for name in range(2)]
for thread in threads: thread.start()
for n in range(200):
    logger.info(f"parent {n}")
    child = os.fork()
    if not child:
        logger.info(f"child {n}")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""
    )
    bodies = [line["body"] for line in told]
    assert (ended, errors) == (0, "")
    assert len(bodies) == len(set(bodies))
    assert [body for body in bodies if body.startswith("parent")] == [f"parent {n}" for n in range(200)]
    assert [body for body in bodies if body.startswith("child")] == [f"child {n}" for n in range(200)]


def test_a_finalizer_and_a_signal_handler_may_log_at_any_moment() -> None:
    """Both run between any two instructions of the thread that is logging."""
    told, errors, ended = run(
        """
import signal
signal.signal(signal.SIGALRM, lambda *_: logger.info("signal"))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
class Thing:
    def __init__(self): self.me = self
    def __del__(self): logger.info("finalizer")
for n in range(2000):
    Thing()
    logger.info(f"event {n}")
    if n % 500 == 0: logger.error("urgent")
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    )
    bodies = [line["body"] for line in told]
    assert (ended, errors) == (0, "")
    assert [body for body in bodies if body.startswith("event")] == [f"event {n}" for n in range(2000)]
    assert {"signal", "finalizer", "urgent"} <= set(bodies)


def test_records_that_wait_at_an_exit_without_goodbye_are_in_the_spool(tmp_path: Path) -> None:
    """A service that fails at its start never comes to ship what it has said."""
    _, errors, ended = run(
        """
from mesh.telemetry.shipper import LogShipper
class Away:
    connected = False
shipper = LogShipper("tester", "tester-1", Away(), Path(sys.argv[1]))
shipper.attach("DEBUG")
logger.info("last words")
if not os.fork():
    logger.info("of a child")
    sys.exit(0)
os.wait()
sys.exit(3)
""",
        str(tmp_path),
    )
    assert (ended, errors) == (3, "")
    (segment,) = tmp_path.glob("*.seg")
    assert segment.read_bytes().count(b"last words") == 1
    assert b"of a child" not in segment.read_bytes()


class Pipe:
    """A console on a pipe whose reader is the test."""

    def __init__(self, backlog: Backlog[Snapshot]) -> None:
        self.read_end, write_end = os.pipe()
        self.stream = os.fdopen(write_end, "w")
        self.console = Console(
            self.stream, lambda one: one.message, lambda shed: f"shed {shed.total}", backlog
        )

    def put(self, text: str, level: int = 20) -> None:
        self.console.put(Snapshot(None, level, "", text, "", {}))  # type: ignore[arg-type]  # nobody looks at the time

    def close(self) -> None:
        self.console.close()
        self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Callable[..., Pipe]]:
    opened: list[Pipe] = []

    def open_pipe(**limits: int) -> Pipe:
        opened.append(Pipe(Backlog(**limits)))
        return opened[-1]

    yield open_pipe
    for one in opened:
        one.close()
        os.close(one.read_end)


def test_a_reader_that_is_stuck_costs_lines_and_says_so(pipe: Callable[..., Pipe]) -> None:
    """Standard output may lead to a program that stands still; the service must not stand still with it."""
    slow = pipe(max_records=100)
    for n in range(1000):
        slow.put(f"{n} " + "x" * 1000)
    slow.put("urgent", 40)
    got: list[bytes] = []

    def read() -> None:
        while chunk := os.read(slow.read_end, 65536):
            got.append(chunk)
            if b"shed" in chunk:
                break

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(WATCHDOG_SECONDS)
    *lines, last = b"".join(got).decode().splitlines()
    assert "urgent" in lines
    numbers = [int(line.split()[0]) for line in lines if line != "urgent"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + int(last.split()[1]) == 1000


def test_a_reader_that_is_gone_is_survived(pipe: Callable[..., Pipe]) -> None:
    """Whoever pipes the output into `head` does not mean to stop the service."""
    closed = pipe()
    os.close(closed.read_end)
    for n in range(10):
        closed.put(f"{n}", 40)
    assert closed.console.flush()
    closed.read_end = os.open(os.devnull, os.O_RDONLY)


@pytest.fixture
def root_logger() -> Iterator[None]:
    """The standard library's logging as it was."""
    with logging_restored():
        yield


@pytest.mark.usefixtures("root_logger")
def test_what_is_shed_is_told_as_a_record(tmp_path: Path) -> None:
    """Loss that nobody can see is worse than loss."""
    with (tmp_path / "out").open("w") as stream:
        configure("tester", "tester-1", "DEBUG", console=stream)
        for n in range(30_000):
            logger.debug(f"event {n}")
        configure("tester", "tester-1")
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    shed = sum(line["attributes"]["count"] for line in lines if line["body"] == LINES_SHED)
    assert len([line for line in lines if line["body"].startswith("event")]) + shed == 30_000
