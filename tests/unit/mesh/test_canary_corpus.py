"""Secrets of every shape, sent through every way out of a process: none arrives in clear, and the way there stays linear."""

import asyncio
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from loguru import logger

from mesh.redaction import redact_details, redact_message, redactor
from mesh.telemetry import configure
from mesh.telemetry.compression import decompress, headers_of
from mesh.telemetry.last_words import catch_strays, places
from mesh.telemetry.shipper import LogShipper
from mesh.telemetry.spool import Spool
from tests.fakes.logs import logging_restored
from tests.unit.mesh.canaries import Canary, leaks, make_canaries
from vivesphere.logging.v1 import log_batch_pb2, log_record_pb2

SEED = int.from_bytes(os.urandom(4)) if os.environ.get("VIVESPHERE_TEST_PROFILE") == "long" else 7
CANARIES = make_canaries(SEED)
MiB = 1024 * 1024
Emit = Callable[[Canary], None]


class Bus:
    """Keeps what is published, as it was sent."""

    def __init__(self, *, connected: bool) -> None:
        self.connected = connected
        self.payloads: list[bytes] = []

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: object = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        self.payloads.append(payload)


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with logging_restored():
        configure("tester", "tester-1", "TRACE", console=stream)
        yield stream


def message(canary: Canary) -> None:
    logger.info(canary.text.replace("{", "{{").replace("}", "}}"), unused=1)


def argument(canary: Canary) -> None:
    logger.info("event {}", canary.text)


def two_arguments(canary: Canary) -> None:
    middle = canary.text.find(" ")
    logger.info("{} {}", canary.text[: max(0, middle)], canary.text[middle + 1 :])


def fields(canary: Canary) -> None:
    logger.bind(
        note=canary.text,
        nested={"rows": [canary.text, {"deep": canary.text}]},
        raw=canary.text.encode(),
        thing=ValueError(canary.text),
    ).warning("event")


def attribute_name(canary: Canary) -> None:
    logger.bind(**{canary.text: 1}, nested={canary.text: {canary.text: True}}).info("event")


def secret_fields(canary: Canary) -> None:
    for secret in canary.secrets:
        logger.bind(
            password=secret,
            headers=[("Authorization", secret), (b"cookie", secret.encode())],
            pair={"name": "X-Api-Key", "value": secret},
            argv=["--token", secret],
        ).info("event")


def exception_text(canary: Canary) -> None:
    try:
        try:
            fail(KeyError(canary.text))
        except KeyError as error:
            error.add_note(canary.text)
            raise ValueError(canary.text) from error
    except ValueError:
        logger.exception("failed")


def exception_locals(canary: Canary) -> None:
    secret, holder = canary.text, {"secret": canary.secrets}
    try:
        fail(ValueError(len(secret) + len(holder)))
    except ValueError as error:
        logger.opt(exception=error).error("failed")
        logger.bind(**places(error)).error("failed")


def standard_library(canary: Canary) -> None:
    log = logging.getLogger("library")
    log.warning("said %s", canary.text)
    log.warning("said %(a)s %(b)r", {"a": canary.text, "b": [canary.text]})
    log.error("failed", exc_info=ValueError(canary.text))


def warning(canary: Canary) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(canary.text, UserWarning, stacklevel=1)


PATHS: tuple[Emit, ...] = (
    message, argument, two_arguments, fields, attribute_name, secret_fields, exception_text, exception_locals, standard_library,
    warning,
)  # fmt: skip


def fail(error: BaseException) -> None:
    raise error


async def shipped(directory: Path, emit: Emit, *, connected: bool) -> list[bytes]:
    """The payloads of the bus, or those in the spool while there is no bus."""
    bus = Bus(connected=connected)
    shipper = LogShipper("tester", "tester-1", bus, directory)
    shipper.attach("TRACE")
    for canary in CANARIES:
        emit(canary)
    await shipper.close()
    if connected:
        return bus.payloads
    spool = Spool(directory)
    found: list[bytes] = []
    while not spool.empty:
        found += spool.oldest()[0]
        spool.drop_oldest()
    spool.close()
    return found


def plain(payload: bytes) -> str:
    """Every text of a batch, as it is and as JSON."""
    batch = log_batch_pb2.LogBatch.FromString(decompress(payload, headers_of(payload)))
    texts = [record.body + str(redacted_struct(record.attributes)) for record in batch.records]
    return "\n".join(texts) + str(batch)


def redacted_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {name: value for name, value in struct.items()}  # noqa: C416 - Struct has no dict() of its own


def test_the_corpus_is_large_and_differs_from_seed_to_seed() -> None:
    """A constant would sooner or later be excepted by somebody's scanner, or by ours."""
    assert len(CANARIES) >= 40
    assert {one.text for one in CANARIES} & {one.text for one in make_canaries(SEED + 1)} == set()
    assert leaks(CANARIES, "\n".join(one.text for one in CANARIES)) == [one.name for one in CANARIES]


@pytest.mark.parametrize("emit", PATHS, ids=lambda emit: emit.__name__)
@pytest.mark.parametrize("connected", [True, False], ids=["bus", "spool"])
async def test_no_secret_leaves_by_a_log_call(
    console: io.StringIO, tmp_path: Path, emit: Emit, connected: bool
) -> None:
    """Neither by the console, nor over NATS, nor into the spool."""
    payloads = await shipped(tmp_path, emit, connected=connected)
    assert leaks(CANARIES, console.getvalue()) == []
    assert leaks(CANARIES, "\n".join(map(plain, payloads))) == []
    assert console.getvalue().count("\n") >= len(CANARIES)


async def test_no_secret_leaves_by_what_ends_a_process(
    console: io.StringIO, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uncaught exceptions go to standard error, which a supervisor keeps."""
    for owner, name in ((__import__("sys"), "excepthook"), (__import__("sys"), "unraisablehook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr("threading.excepthook", __import__("threading").excepthook)
    loop = asyncio.get_running_loop()
    catch_strays(loop)
    for canary in CANARIES:
        error = ValueError(canary.text)
        __import__("sys").excepthook(ValueError, error, None)
        loop.call_exception_handler({"message": canary.text, "exception": error})
    loop.set_exception_handler(None)
    told = capfd.readouterr().err
    assert told.count("ValueError") >= len(CANARIES)
    assert leaks(CANARIES, told + console.getvalue()) == []


def test_no_secret_stays_in_audit_details_or_in_what_a_browser_sends() -> None:
    """The trail is kept for years; a page may report the address it was opened with."""
    for canary in CANARIES:
        record = log_record_pb2.LogRecord(body=canary.text)
        record.attributes.update({"url": canary.text, "frames": [{"args": canary.text}], canary.text: 1})
        clean = [
            redactor.text(record.body),
            json.dumps(redactor.value(redacted_fields(record))),
            json.dumps(redact_details({"before": {"note": canary.text}, canary.text: canary.text})),
            json.dumps(redact_message(record)),
        ]
        assert [leaks([canary], one) for one in clean] == [[]] * len(clean)


def redacted_fields(record: log_record_pb2.LogRecord) -> dict[str, Any]:
    from google.protobuf import json_format

    fields: dict[str, Any] = json_format.MessageToDict(record.attributes)
    return fields


def test_redacting_twice_changes_nothing() -> None:
    """Records are redacted at the source and again where they come in."""
    for canary in CANARIES:
        once = redactor.text(canary.text)
        assert redactor.text(once) == once, canary.name


HOSTILE = (
    "a", "A1a", "token ", "://", "\\", "eyJ.", "%25", "token%20", "'token', ", "Authorization: ", "-----BEGIN PRIVATE KEY-----", "--",
    "--a-token ", "://a:", "Bearer ", "__host-", "xoxb-", "eyJhhhhh.", "1", "1234-", "s.", "Aa1-", '{"token":', "sk_live_", "npm_",
    "token_", "x-api-key\n", "http://", "token:\n", "\x00", "\u2028",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("frame", ["{}", "password='{}", "token{}=", "bearer {}"])
def test_a_hostile_line_costs_no_more_than_its_length(piece: str, frame: str) -> None:
    """Whoever may write into a log must not be able to stop the process: eight times the length may not cost sixty times the work."""

    def seconds(length: int) -> float:
        text = frame.format(piece * (length // len(piece)))
        began = time.thread_time()
        redactor.text(text)
        return time.thread_time() - began

    small = min(seconds(MiB // 64) for _ in range(3))
    assert seconds(MiB // 8) < 60 * small + 0.1


def test_a_hostile_megabyte_of_each_kind_is_read() -> None:
    """With quadratic cost each of these would take hours."""
    for piece in HOSTILE[::4]:
        redactor.text(piece * (MiB // len(piece)))
