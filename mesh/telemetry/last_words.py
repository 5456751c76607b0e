"""What is said of an exception whose text may quote a secret, and of exceptions that nobody caught.

`int("…")`, a missing key or a bad header put the value that they choke on into their text. So where secrets are at hand, and where
nobody knows what was at hand, an exception is told by its types and places alone: file, line, function and source line of each frame,
also of its causes. Python's and the event loop's own reports would print arguments, results and texts to standard error, past the
redactor; `catch_strays` puts ours in their place. What ends a process keeps its text, redacted, since a person has to mend it.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from loguru import logger

from mesh.redaction import redactor
from mesh.telemetry.lines import STACK

MAX_CHARS: Final = 6_000
MAX_CHAIN: Final = 8
MAX_TOGETHER: Final = 4


def places(error: BaseException) -> dict[str, str]:
    """Log fields that tell an exception without a word of its text; causes first, as Python prints them."""
    stack = "".join(_stack(error, MAX_CHAIN))
    return {"exception.type": type(error).__qualname__, STACK: stack[-MAX_CHARS:]}


def catch_strays(loop: asyncio.AbstractEventLoop) -> None:
    """Take over the reports of uncaught exceptions: of the process, its threads, its finalizers and its event loop."""
    loop.set_exception_handler(_on_loop)
    sys.excepthook = _on_end
    threading.excepthook = _on_thread
    sys.unraisablehook = _on_unraisable


def _stack(error: BaseException, left: int) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and left:
        yield from _stack(cause, left - 1)
        yield "which led to\n"
    if isinstance(error, BaseExceptionGroup) and left:
        for member in error.exceptions[:MAX_TOGETHER]:
            yield from _stack(member, left - 1)
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__qualname__}\n"


def _on_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The context's message and objects show arguments and results, so only the names of tasks are taken from it."""
    task = context.get("task") or context.get("future")
    name = task.get_name() if isinstance(task, asyncio.Task) else ""
    error = context.get("exception")
    fields = places(error) if isinstance(error, BaseException) else {}
    logger.bind(task=name, **fields).error("event loop reports an error")


def _on_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redactor.text("".join(traceback.format_exception(kind, error, trace))))


def _on_thread(failed: threading.ExceptHookArgs) -> None:
    fields = places(failed.exc_value) if failed.exc_value is not None else {}
    logger.bind(thread=failed.thread.name if failed.thread else "", **fields).error("thread died")


def _on_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    fields = places(failed.exc_value) if failed.exc_value is not None else {}
    logger.bind(**fields).error("exception could not be raised")
