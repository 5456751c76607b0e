"""Exceptions that nobody caught, and those that quote a value, are told without it."""

import asyncio
import gc
import io
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh.telemetry import configure
from mesh.telemetry.last_words import MAX_CHARS, catch_strays, places
from mesh.telemetry.lines import STACK
from tests.fakes.logs import logging_restored

CANARY = "canary" + "9f8e7d"


def quoting() -> None:
    int(CANARY)


def chained() -> None:
    try:
        {}[CANARY]
    except KeyError as error:
        raise ValueError(f"no {CANARY}") from error


def during_another() -> None:
    try:
        quoting()
    except ValueError:
        {}[CANARY]


def together() -> None:
    raise ExceptionGroup(CANARY, [ValueError(CANARY), ExceptionGroup(CANARY, [KeyError(CANARY)])])


def noted() -> None:
    error = ValueError("plain")
    error.add_note(CANARY)
    raise error


def itself() -> None:
    error = ValueError(CANARY)
    error.__cause__ = error
    raise error


def deep(left: int = 500) -> None:
    if left:
        deep(left - 1)
    quoting()


def caught(failing: Callable[[], None]) -> BaseException:
    with pytest.raises(Exception) as info:  # every kind is a case
        failing()
    return info.value


@pytest.mark.parametrize("failing", [quoting, chained, during_another, together, noted, itself, deep])
def test_places_tell_where_and_never_what(failing: Callable[[], None]) -> None:
    """A text such as "invalid literal for int(): …" is the value itself."""
    error = caught(failing)
    told = places(error)
    assert told["exception.type"] == type(error).__qualname__
    assert failing.__name__ in told[STACK] or failing is deep
    assert told[STACK].endswith(f"{type(error).__qualname__}\n")
    assert len(told[STACK]) <= MAX_CHARS
    assert CANARY not in str(told)
    if failing not in (itself,):
        assert CANARY in "".join(traceback.format_exception(error))


def test_places_name_causes_before_effects() -> None:
    """The first line to look at is where it began."""
    stack = places(caught(chained))[STACK]
    assert stack.index("KeyError") < stack.index("which led to") < stack.rindex("ValueError")


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged while the process's own hooks are ours."""
    stream = io.StringIO()
    for owner, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    with logging_restored():
        configure("tester", "tester-1", "TRACE", console=stream)
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_the_event_loop_reports_no_arguments_results_or_texts(console: io.StringIO) -> None:
    """asyncio's own report shows the callback with its arguments and the future with its result."""

    async def fails() -> None:
        quoting()

    loop = asyncio.get_running_loop()
    catch_strays(loop)
    loop.call_soon(int, CANARY)
    task = loop.create_task(fails(), name="careless")
    await asyncio.wait([task])
    del task
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    told = [line for line in lines(console) if line["body"] == "event loop reports an error"]
    assert [line["attributes"]["exception.type"] for line in told] == ["ValueError", "ValueError"]
    assert {line["attributes"].get("task") for line in told} == {"", "careless"}
    assert CANARY not in console.getvalue()


async def test_threads_and_finalizers_die_without_a_word_of_values(
    console: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python prints both to standard error, past every redaction."""

    class Careless:
        def __del__(self) -> None:
            quoting()

    loop = asyncio.get_running_loop()
    catch_strays(loop)
    loop.set_exception_handler(None)
    thread = threading.Thread(target=int, args=(CANARY,), name="careless")
    thread.start()
    thread.join()
    Careless().__del__  # noqa: B018  # made to be thrown away
    gc.collect()
    assert {line["body"] for line in lines(console)} >= {"thread died", "exception could not be raised"}
    assert CANARY not in console.getvalue() + "".join(capfd.readouterr())


async def test_what_ends_the_process_is_said_redacted(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever starts it has to read why it did not start, and may have pasted a password into an address."""
    hook = sys.excepthook
    loop = asyncio.get_running_loop()
    unraisable, threads = sys.unraisablehook, threading.excepthook
    catch_strays(loop)
    try:
        error = ValueError("cannot use postgresql://someone:hunter2-secret@host/db")
        sys.excepthook(ValueError, error, None)
    finally:
        loop.set_exception_handler(None)
        sys.excepthook, sys.unraisablehook, threading.excepthook = hook, unraisable, threads
    told = capfd.readouterr().err
    assert "ValueError: cannot use postgresql://" in told
    assert "hunter2" not in told
