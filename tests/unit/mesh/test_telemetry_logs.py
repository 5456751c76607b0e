"""No secret leaves by a log, no log forges a line, and no sink hurts the code that logs."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from mesh.telemetry import configure
from mesh.telemetry.logs import PINNED
from tests.fakes.logs import logging_restored
from tests.unit.mesh.redaction_corpus import SHAPES, WORD


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with logging_restored():
        configure("tester", "tester-1", "TRACE", console=stream)
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def gone(secret: str, text: str) -> bool:
    return secret not in text and json.dumps(secret)[1:-1] not in text


def raise_with_cause(text: str) -> None:
    try:
        {}[text]
    except KeyError as error:
        raise ValueError(text) from error


@pytest.mark.parametrize("name", SHAPES)
def test_no_capture_path_lets_a_secret_through(console: io.StringIO, name: str) -> None:
    """Message, argument, field, nested field, exception, cause and the standard library's logging all end in the same store."""
    text, secret = SHAPES[name]
    sunk: list[str] = []
    logger.add(
        lambda message: sunk.append(str(message)), format="{message} {extra} {exception}", diagnose=False
    )
    logger.info(text.replace("{", "{{").replace("}", "}}"), unused=1)
    logger.info("event {}", text)
    logger.bind(note=text, nested={"rows": [text]}).warning("event")
    try:
        raise_with_cause(text)
    except ValueError:
        logger.exception("failed")
    logging.getLogger("library").warning("said %s", text)
    logging.getLogger("library").error("failed", exc_info=ValueError(text))
    assert len(lines(console)) == 6
    assert gone(secret, console.getvalue())
    assert gone(secret, "".join(sunk))


def test_local_variables_never_appear(console: io.StringIO) -> None:
    """loguru's diagnose prints the values of variables in tracebacks."""

    def fail(value: str) -> None:
        raise ValueError("no")

    try:
        fail(WORD)
    except ValueError:
        logger.exception("failed")
    assert WORD not in console.getvalue()
    assert lines(console)[0]["attributes"]["exception.type"] == "ValueError"
    assert "in fail" in lines(console)[0]["attributes"]["exception.stacktrace"]


def test_a_record_carries_its_call_and_its_fields(console: io.StringIO) -> None:
    """Whoever follows a request through the mesh filters by these."""
    with logger.contextualize(request_id="r1", trace_id="a" * 32, actor="u1"):
        logger.bind(post_id="p1").info("post claimed")
    line = lines(console)[0]
    assert (line["body"], line["severity"], line["service"]) == ("post claimed", "INFO", "tester")
    assert (line["request_id"], line["trace_id"], line["actor"]) == ("r1", "a" * 32, "u1")
    assert line["attributes"] == {"post_id": "p1"}


@pytest.mark.parametrize("name", PINNED)
def test_libraries_that_log_secrets_are_pinned(console: io.StringIO, name: str) -> None:
    """tweepy logs bearer tokens and oauthlib signature base strings at DEBUG, also while we run at TRACE."""
    logging.getLogger(f"{name}.client").debug("Authorization: secret")
    logging.getLogger(f"{name}.client").info("Authorization: secret")
    assert console.getvalue() == ""
    logging.getLogger(f"{name}.client").warning("trouble")
    assert lines(console)[0]["logger"] == f"{name}.client"


@pytest.mark.parametrize(
    "evil",
    ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x00b", "a\u202eb", "a\ud800b", "x" * 1_000_000],
    ids=["lf", "crlf", "ansi", "u2028", "nul", "rtl", "surrogate", "megabyte"],
)
def test_a_record_is_one_line_whatever_it_holds(console: io.StringIO, evil: str) -> None:
    """An attacker who can write lines can make the log say anything."""
    terminal = Terminal()
    logger.bind(note=evil).info(evil)
    configure("tester", "tester-1", console=terminal)
    logger.bind(note=evil).info(evil)
    assert len(console.getvalue().splitlines()) == 1
    shown = terminal.getvalue()
    assert len(shown.splitlines()) == 1
    assert not set(shown) & {"\x00", "\u2028", "\u202e", "\ud800"}
    assert "\x1b[2J" not in shown


def test_a_person_sees_a_compact_line() -> None:
    """At a terminal a person reads along."""
    terminal = Terminal()
    configure("tester", "tester-1", console=terminal)
    logger.bind(post_id="p1", why="no reason").info("post claimed")
    assert terminal.getvalue().rstrip().endswith('INFO     tester  post claimed  post_id=p1  why="no reason"')
    logger.remove()


def test_a_closed_console_does_not_stop_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    """A log pipe that breaks is no reason to stop publishing posts."""
    configure("tester", "tester-1", console=Closed())
    logger.info("still here")
    logger.remove()
    assert capsys.readouterr().err == ""


def test_an_object_that_cannot_be_shown_is_survived(console: io.StringIO) -> None:
    """Logging must never raise into the code that logs."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError(WORD)

    logger.bind(thing=Hostile(), big=10**5000, nan=float("nan")).info("event")
    assert lines(console)[0]["attributes"]["thing"] == "<Hostile>"
    assert WORD not in console.getvalue()


def test_an_unknown_level_is_refused_by_name() -> None:
    """A typing error in the environment must not silence a service."""
    with pytest.raises(ValueError, match="log_level"):
        configure("tester", "tester-1", "LOUD")
