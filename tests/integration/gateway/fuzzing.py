"""What the fuzz over HTTP stands on: a gateway before a service that never fails, one request with a time limit, and what may be answered.

The service echoes, or answers with nothing, and waits for nobody: so whatever is said to have failed was failed by the gateway. Errors that
are only logged, because the answer had begun, are found in the log.
"""

import asyncio
import gc
import json
import logging
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from loguru import logger

from gateway.settings import Limits
from tests.integration.gateway.backend import ScriptedBackend
from tests.integration.gateway.probing import Answer, front, parsed, payload_of
from tests.integration.gateway.wild import CANARY

ANSWER_SECONDS = 30.0
"""An answer that takes longer hangs. Nothing here waits for more than a body that never comes."""
BODY_SECONDS = 0.2
LARGE_BYTES = 16 * 1024
LOST = Answer(400, {}, b"")
"""For an answer that did not wait for a large body: the reset behind it may reach the client first (RFC 9112 section 9.6)."""
_FAULT_IN_STREAM = re.compile(rb'\{"code":(2|13|14|15),"message":')
"""A status that blames the gateway or the service, wherever it stands: a stream that fails has said 200 before."""
SHORT_SECONDS = 10.0
"""A client that gives a call no more than this may be told that the time is over."""


def joined(*raws: bytes) -> bytes:
    """One descriptor set of several, in which every method that REST asks by GET says that it changes nothing: so Connect asks it by GET."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for raw in raws:
        for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
            files.setdefault(file.name, file)
    for file in files.values():
        for service in file.service:
            for method in service.method:
                if method.options.Extensions[annotations_pb2.http].get:
                    method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    return descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString()


class Watched:
    """A gateway, and what was logged of failures since somebody looked. No dataclass: a failing property prints all fields of one."""

    def __init__(self, port: int, faults: list[str]) -> None:
        self.port = port
        self._faults = faults

    def require_no_fault(self) -> None:
        """Fails with what was logged; the next request begins anew."""
        found = self._faults.copy()
        self._faults.clear()
        assert found == []


@asynccontextmanager
async def watched_front(raw: bytes) -> AsyncIterator[Watched]:
    """The gateway, and the errors it logs. At the end nothing may be under way any more."""
    faults: list[str] = []
    handler = _Faults(faults)
    gc.collect()  # what tests before left behind complains now, and not in the middle of these
    sink = logger.add(faults.append, level="ERROR", filter="gateway")
    logging.getLogger().addHandler(handler)
    try:
        limits = Limits(drain_seconds=0.1, body_timeout_seconds=BODY_SECONDS)
        async with front(raw, limits=limits, calls=True) as running:
            running.backend.behaviours |= _harmless(running.backend)
            watched = Watched(running.port, faults)
            yield watched
            await _settled(running.port)
    finally:
        logging.getLogger().removeHandler(handler)
        logger.remove(sink)
    watched.require_no_fault()


class _Faults(logging.Handler):
    """Errors that libraries log: tasks that nobody waited for, an application that raised."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(self.format(record))


def _harmless(backend: ScriptedBackend) -> dict[str, Any]:
    """Behaviours of methods that cannot echo, because they answer with another message, or with many: none fails, none waits."""
    made = {}
    for method in backend.methods.values():
        if method.server_streaming:
            made[method.full_name] = _two(backend.type(method.output_type.full_name))
        elif method.input_type is not method.output_type:
            made[method.full_name] = _one(backend.type(method.output_type.full_name))
    return made


def _one(kind: Any) -> Any:
    async def answered(request: Any, context: Any) -> Any:
        return _tagged(kind())

    return answered


def _two(kind: Any) -> Any:
    async def answered(request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(2):
            yield _tagged(kind())

    return answered


def _tagged(message: Any) -> Any:
    """The message with an etag, where it has one, or a resource in it has."""
    for field in message.DESCRIPTOR.fields:
        if field.name == "etag":
            message.etag = "7"
        elif (
            field.message_type is not None
            and not field.is_repeated
            and "etag" in field.message_type.fields_by_name
        ):
            getattr(message, field.name).etag = "7"
    return message


async def _settled(port: int) -> None:
    """Return once no request is under way but this one."""
    async with asyncio.timeout(30):
        while True:
            answer = await ask(port, {"method": "GET", "path": "/metrics"})
            if b"\ngateway_http_in_flight 1.0\n" in answer.body:
                return
            await asyncio.sleep(0.05)


async def ask(port: int, request: Any) -> Answer:
    """Send a request byte for byte on a connection of its own; TimeoutError when it hangs."""
    payload = payload_of(request.get("body"))
    headers = list(request.get("headers") or ())
    named = {name.lower() for name, _ in headers}
    if "host" not in named:
        headers.append(["Host", "probe.test"])
    if payload and not named & {"content-length", "transfer-encoding"}:
        headers.append(["Content-Length", str(len(payload))])
    headers.append(["Connection", "close"])
    head = f"{request['method']} {request['path']} HTTP/1.1\r\n" + "".join(
        f"{n}: {v}\r\n" for n, v in headers
    )
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode("latin-1") + b"\r\n" + payload)
            data = await _all_of(reader)
        finally:
            writer.close()
    while data.startswith(b"HTTP/1.1 100 "):
        data = data.partition(b"\r\n\r\n")[2]
    return parsed(data) if data or len(payload) < LARGE_BYTES else LOST


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    data = b""
    with suppress(ConnectionResetError):  # behind an answer that did not wait for all of the body
        while piece := await reader.read(65536):
            data += piece
    return data


@contextmanager
def within(seconds: float = ANSWER_SECONDS) -> Iterator[None]:
    """Around what does not wait: TimeoutError where it takes longer, though it should never end."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def require_sound(request: Any, answer: Answer) -> None:
    """An answer is whole, says the truth of itself, and blames nobody but the client.

    501 is for those who show by a header that they speak Connect, and ask for a method that does not exist.
    """
    if answer.status == 504:
        assert gives_little_time(request), answer
    elif answer.status == 501:
        assert json.loads(answer.body)["code"] == "unimplemented", answer
        return
    else:
        assert answer.status < 500, answer
    if request["method"] == "HEAD" or answer.status == 304:
        assert answer.body == b"", answer
        return
    assert int(answer.headers.get("content-length", len(answer.body))) == len(answer.body), answer
    assert _FAULT_IN_STREAM.search(answer.body) is None, answer
    if answer.status >= 400:
        assert CANARY.encode() not in answer.body, answer
        if answer.headers.get("content-type") == "application/json":
            body = json.loads(answer.body)
            assert body["code"], answer
            assert body["message"], answer


def gives_little_time(request: Any) -> bool:
    """Whether a header of the request asks for so short a time that it may well be over."""
    return any(
        seconds is not None and seconds <= SHORT_SECONDS
        for name, value in request.get("headers") or ()
        if (seconds := _seconds(name.lower(), value.strip())) is not None
    )


def _seconds(name: str, value: str) -> float | None:
    units = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
    if name == "grpc-timeout" and re.fullmatch(r"[0-9]{1,8}[HMSmun]", value):
        return int(value[:-1]) * units[value[-1]]
    if name == "x-server-timeout" and re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,9})?", value):
        return float(value)
    if name == "connect-timeout-ms" and value.isdecimal():
        return int(value) / 1000
    return None
