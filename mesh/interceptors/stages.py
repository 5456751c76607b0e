"""The stages but for audit and access: observe, overload, deadline, validation."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import protovalidate
from google.protobuf.message import Message
from loguru import logger

from buf.validate import validate_pb2
from mesh.clock import Clock
from mesh.context import Call
from mesh.errors import DeadlineExceeded, FieldViolation, InvalidArgument, ResourceExhausted
from mesh.interceptors.chain import ServicerContext
from mesh.telemetry.metrics import RpcMetrics
from mesh.telemetry.tracing import SpanSink, Trace

NANO = 1_000_000_000
LEAST_USEFUL_SECONDS = 0.005
"""With less time than this left, no call of ours can answer; it is refused instead of begun."""


class Observe:
    """Counts and times every call and writes its one canonical line.

    A read that went well is of interest to a developer only: its line is DEBUG, which costs next to nothing where nobody listens.
    """

    name = "observe"

    def __init__(
        self, metrics: RpcMetrics, clock: Clock, *, spans: SpanSink | None = None, debug: bool = False
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._spans = spans
        self._debug = debug

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        self._metrics.started(call.path)

    async def leave(self, call: Call) -> None:
        seconds = self._clock.monotonic() - call.started
        self._metrics.finished(call.path, call.outcome, seconds)
        if self._spans is not None and call.trace is not None:
            self._export(self._spans, call, call.trace, seconds)
        level = _level(call)
        if level == "DEBUG" and not self._debug:
            return
        line = logger.bind(auth_fault=call.auth_fault) if call.auth_fault else logger
        line.bind(
            rpc_method=call.path,
            rpc_code=call.outcome,
            reason=call.reason,
            duration_ms=round(seconds * 1000, 2),
            peer=call.peer,
            address=call.address,
        ).log(level, "call finished")

    def _export(self, spans: SpanSink, call: Call, trace: Trace, seconds: float) -> None:
        end = int(self._clock.now().timestamp() * NANO)
        service, _, method = call.path.removeprefix("/").partition("/")
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.code": call.outcome,
        }
        failed = call.outcome not in _EXPECTED
        spans.finished(call.path, trace, end - int(seconds * NANO), end, attributes, failed=failed)


def _level(call: Call) -> str:
    if call.outcome not in _EXPECTED:
        return "ERROR"
    reads = call.policy is not None and call.policy.reads
    return "DEBUG" if reads and call.outcome == "OK" else "INFO"


_EXPECTED = frozenset(
    {
        "OK",
        "CANCELLED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "RESOURCE_EXHAUSTED",
    }
)


class Overload:
    """Bounds the calls and the streams in flight. What is over the bound is refused at once, with a hint when to come back."""

    name = "overload"

    def __init__(self, max_calls: int, max_streams: int) -> None:
        self._bounds = {False: max_calls, True: max_streams}
        self._in_flight = {False: 0, True: 0}

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        streaming = _is_stream(call)
        self._in_flight[streaming] += 1
        if self._in_flight[streaming] > self._bounds[streaming]:
            raise ResourceExhausted(
                "OVERLOADED", "too many calls in flight", retry_after=timedelta(milliseconds=500)
            )

    async def leave(self, call: Call) -> None:
        self._in_flight[_is_stream(call)] -= 1


def _is_stream(call: Call) -> bool:
    policy = call.policy
    return policy is not None and (policy.response_streaming or policy.request_streaming)


class Deadline:
    """Refuses what cannot finish in the time that is left."""

    name = "deadline"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        if call.deadline is not None and call.deadline - self._clock.monotonic() < LEAST_USEFUL_SECONDS:
            raise DeadlineExceeded("DEADLINE_TOO_SHORT", "too little of the deadline is left to begin")

    async def leave(self, call: Call) -> None:
        return


class Validation:
    """Holds the request against the rules in its contract; one that was adopted has none, and its service judges what comes."""

    name = "validation"

    async def enter(self, call: Call, request: Any, context: ServicerContext) -> None:
        adopted = call.policy is not None and call.policy.adopted
        if request is not None and not adopted:
            validate(request)
            refuse_nul(request)

    async def leave(self, call: Call) -> None:
        return


def validate(message: Message) -> None:
    """Raises InvalidArgument with one violation per broken rule of the message's contract."""
    try:
        protovalidate.validate(message)
    except protovalidate.ValidationError as error:
        violations = [
            FieldViolation(_path(violation), violation.proto.message) for violation in error.violations
        ]
        first = violations[0]
        where = f"{first.field}: " if first.field else ""
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise InvalidArgument(
            "INVALID_FIELD", f"{where}{first.description}{more}", violations=violations
        ) from None


def refuse_nul(message: Message) -> None:
    """Raises InvalidArgument naming the text fields that hold U+0000, which PostgreSQL cannot store and no text needs."""
    if b"\0" not in message.SerializeToString():
        return
    violations = [FieldViolation(path, "must not contain U+0000") for path in _with_nul(message, "")]
    if violations:
        first = violations[0]
        raise InvalidArgument("INVALID_FIELD", f"{first.field}: {first.description}", violations=violations)


def _with_nul(message: Message, prefix: str) -> Iterator[str]:
    for field, value in message.ListFields():
        rules = field.GetOptions().Extensions[validate_pb2.field]
        if rules.repeated.items.ignore == validate_pb2.IGNORE_ALWAYS:
            continue  # the service judges these one by one
        path = f"{prefix}{field.name}"
        if field.is_repeated and hasattr(value, "items"):
            for key, item in value.items():
                yield from _nul_in(key, path)
                yield from _nul_in(item, f"{path}[{key!r}]")
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from _nul_in(item, f"{path}[{index}]")
        else:
            yield from _nul_in(value, path)


def _nul_in(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str) and "\0" in value:
        yield path
    elif isinstance(value, Message):
        yield from _with_nul(value, f"{path}.")


def _path(violation: Any) -> str:
    """`post.parts[0].text` out of protovalidate's FieldPath; empty for a rule of the request as a whole, which names no field."""
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value!r}]"
    return path


async def validated(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """The messages of a client stream, each held against its contract before the handler sees it."""
    async for request in requests:
        validate(request)
        refuse_nul(request)
        yield request
