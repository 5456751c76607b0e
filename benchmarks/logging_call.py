"""What a log call costs the code that makes it; aim: 15 µs.

call   wall time of `logger.bind(post_id=…, attempt=…).info("post claimed")` in bursts of 100, as a call of the mesh logs, with redaction,
       the console as JSON lines into a file and shipping to a publisher that acknowledges at once; lines and batches are made
       between the bursts by writer thread and event loop
CPU    the same calls in CPU time of their thread, for machines that others use too
whole  CPU time of the process by record over 20,000 of them, with everything that happens after the call

Beside it in the same run, without any redaction: loguru with one sink that does nothing, loguru with `enqueue` and such a sink, and the
standard library's logging with a formatter that writes the same fields into a file.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from benchmarks.report import Figure, print_figures
from mesh.ids import new_id
from mesh.tasks import TaskSet
from mesh.telemetry import configure
from mesh.telemetry.context import add_call_context
from mesh.telemetry.shipper import LogShipper

BURST = 100
BURSTS = 60
PAUSE_SECONDS = 0.02
RECORDS = 20_000
MICRO = 1e6

Log = Callable[[str, int], None]


class Bus:
    """Acknowledges at once."""

    connected = True

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        """Takes everything."""


async def measure() -> None:
    """Print the table."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for label, run in (
            ("vivesphere, console and shipping", _ours),
            ("loguru, empty sink", _loguru),
            ("loguru, enqueue", _enqueue),
            ("logging, file", _standard),
        ):
            figures += await run(label, directory)
    logger.remove()
    print_figures("a log call", figures)


def _log(post_id: str, attempt: int) -> None:
    logger.bind(post_id=post_id, attempt=attempt).info("post claimed")


async def _ours(label: str, directory: Path) -> list[Figure]:
    with (directory / "console").open("w") as stream:
        configure("benchmark", "benchmark-1", console=stream, enrich=add_call_context)
        shipper = LogShipper("benchmark", "benchmark-1", Bus(), directory / "spool")
        shipper.attach()
        async with TaskSet() as tasks:
            tasks.spawn(shipper.run(), name="log shipper")
            figures = await _measure(label, _log, shipper.flush)
        await shipper.close()
        logger.remove()
        logger.configure(patcher=lambda _: None)
        configure("benchmark", "benchmark-1")  # closes the console on the file
    logger.remove()
    logger.configure(patcher=lambda _: None)
    return figures


async def _loguru(label: str, _: Path) -> list[Figure]:
    logger.add(lambda _: None)
    figures = await _measure(label, _log, _nothing)
    logger.remove()
    return figures


async def _enqueue(label: str, _: Path) -> list[Figure]:
    logger.add(lambda _: None, enqueue=True)
    figures = await _measure(label, _log, _nothing)
    logger.remove()
    return figures


async def _standard(label: str, directory: Path) -> list[Figure]:
    handler = logging.FileHandler(directory / "standard")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s %(post_id)s %(attempt)s"))
    standard = logging.getLogger("benchmark")
    standard.propagate, standard.handlers = False, [handler]
    standard.setLevel(logging.INFO)

    def log(post_id: str, attempt: int) -> None:
        standard.info("post claimed", extra={"post_id": post_id, "attempt": attempt})

    figures = await _measure(label, log, _nothing)
    handler.close()
    return figures


async def _nothing() -> None:
    """Nothing waits anywhere."""


async def _measure(label: str, log: Log, flush: Callable[[], Awaitable[Any]]) -> list[Figure]:
    ids = [new_id() for _ in range(BURST)]
    call: list[float] = []
    busy: list[float] = []
    for _ in range(BURSTS):
        began, began_busy = time.perf_counter(), time.thread_time()
        for attempt, post_id in enumerate(ids):
            log(post_id, attempt)
        busy.append((time.thread_time() - began_busy) / BURST * MICRO)
        call.append((time.perf_counter() - began) / BURST * MICRO)
        await asyncio.sleep(PAUSE_SECONDS)
    await flush()
    began = time.process_time()
    for _ in range(RECORDS // BURST):
        for attempt, post_id in enumerate(ids):
            log(post_id, attempt)
        await asyncio.sleep(0)
    await flush()
    whole = (time.process_time() - began) / RECORDS * MICRO
    return [
        Figure(f"{label}: call", "µs", call),
        Figure(f"{label}: CPU", "µs", busy),
        Figure(f"{label}: whole", "µs", [whole]),
    ]
