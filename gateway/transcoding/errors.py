"""What went wrong, as google.rpc.Status and as an HTTP answer.

Two sources, one look: `GatewayError` is a refusal of the gateway's own, `StatusRenderer` turns what a service answered into
the same JSON. The HTTP status follows the documentation of google.rpc.Code. A detail whose type nobody knows keeps its
bytes in base64 instead of costing the whole answer. Descriptions say what was expected and never repeat a value: a value may
be a password.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.rpc import error_details_pb2, status_pb2
from protobuf import Registry, message_to_json_value

DOMAIN: Final = "vivesphere"  # google.rpc.ErrorInfo.domain of errors the gateway makes itself
TYPE_PREFIX: Final = "type.googleapis.com/"

CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 2, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE = 7, 8, 10, 11
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16

# "HTTP Mapping" of each code in google/rpc/code.proto; an unknown code is 500.
HTTP_STATUS: Final[Mapping[int, int]] = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429,
    9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """One entry of google.rpc.BadRequest: a field path and what is wrong with it."""

    field: str
    description: str


@dataclass(slots=True)
class GatewayError(Exception):
    """A refusal made by the gateway itself.

    `reason` is a name of vivesphere.mesh.v1.ErrorReason without its prefix; `http_status` is set where HTTP has a better
    answer than the code's own (404 for a route, 405, 413, 415); `headers` are sent along over HTTP. `retry_after_seconds` above 0 says
    when to come back, as google.rpc.RetryInfo and Retry-After.
    """

    code: int
    reason: str
    message: str
    violations: Sequence[Violation] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    http_status: int = 0
    headers: Sequence[tuple[bytes, bytes]] = ()
    retry_after_seconds: float = 0.0

    def to_status(self) -> status_pb2.Status:
        """As a message, for the gRPC door."""
        status = status_pb2.Status(code=self.code, message=self.message)
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        status.details.add().Pack(info)
        if self.violations:
            bad_request = error_details_pb2.BadRequest()
            for violation in self.violations:
                bad_request.field_violations.add(field=violation.field, description=violation.description)
            status.details.add().Pack(bad_request)
        if self.retry_after_seconds > 0:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(self._retry_milliseconds)
            status.details.add().Pack(retry)
        return status

    def to_json(self) -> Json:
        """As google.rpc.Status in ProtoJSON."""
        return {"code": self.code, "message": self.message, "details": self._details()}

    def _details(self) -> list[Json]:
        info: Json = {"@type": TYPE_PREFIX + "google.rpc.ErrorInfo", "reason": self.reason, "domain": DOMAIN}
        if self.metadata:
            info["metadata"] = dict(self.metadata)
        details = [info]
        if self.violations:
            violations = [{"field": v.field, "description": v.description} for v in self.violations]
            details.append({"@type": TYPE_PREFIX + "google.rpc.BadRequest", "fieldViolations": violations})
        if self.retry_after_seconds > 0:
            delay = f"{self._retry_milliseconds / 1000:g}s"
            details.append({"@type": TYPE_PREFIX + "google.rpc.RetryInfo", "retryDelay": delay})
        return details

    @property
    def _retry_milliseconds(self) -> int:
        return math.ceil(self.retry_after_seconds * 1000)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error ready for HTTP: status, extra headers, and the body as a JSON value."""

    http_status: int
    body: Json
    headers: tuple[tuple[bytes, bytes], ...] = ()


def invalid(field_path: str, description: str, reason: str = "INVALID_FIELD") -> GatewayError:
    """INVALID_ARGUMENT about one field or parameter."""
    return invalid_all([Violation(field_path, description)], reason)


def invalid_all(violations: Sequence[Violation], reason: str = "INVALID_FIELD") -> GatewayError:
    """INVALID_ARGUMENT about several fields; the message tells of the first."""
    first = violations[0]
    return GatewayError(INVALID_ARGUMENT, reason, f"{first.field}: {first.description}", violations)


def malformed(message: str, *, http_status: int = 0) -> GatewayError:
    """INVALID_ARGUMENT about the request as a whole."""
    return GatewayError(INVALID_ARGUMENT, "MALFORMED_REQUEST", message, http_status=http_status)


def too_large(what: str, limit: int, http_status: int = 413) -> GatewayError:
    """OUT_OF_RANGE: `what` is over `limit` bytes."""
    return GatewayError(
        OUT_OF_RANGE, "MESSAGE_TOO_LARGE", f"the {what} is over the limit of {limit} bytes",
        metadata={"limit_bytes": str(limit)}, http_status=http_status,
    )  # fmt: skip


def unavailable(service: str) -> GatewayError:
    """UNAVAILABLE: the service cannot be reached."""
    return GatewayError(
        UNAVAILABLE, "SERVICE_UNAVAILABLE", f"{service} does not answer", metadata={"service": service}
    )


def internal(incident: str) -> GatewayError:
    """INTERNAL: a defect; the log entry with this incident id tells more."""
    return GatewayError(INTERNAL, "INTERNAL", f"internal error, incident {incident}")


def answer(error: GatewayError) -> ErrorAnswer:
    """A gateway-made error for HTTP."""
    status = error.http_status or HTTP_STATUS.get(error.code, 500)
    headers = (*error.headers, *_challenge(status))
    if error.retry_after_seconds > 0:
        headers = (*headers, (b"retry-after", str(math.ceil(error.retry_after_seconds)).encode()))
    return ErrorAnswer(status, error.to_json(), headers)


class StatusRenderer:
    """Turns the status of a gRPC call into an HTTP answer; `registry` resolves the types of details."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def render(self, code: int, message: str, details: bytes | None) -> ErrorAnswer:
        """`details` is the value of `grpc-status-details-bin`; code and message are the call's own."""
        entries = self._entries(details) if details else []
        http_status = HTTP_STATUS.get(code, 500)
        headers = list(_challenge(http_status))
        if http_status in (429, 503) and (delay := _retry_delay(entries)) is not None:
            headers.append((b"retry-after", str(delay).encode()))
        rendered = [self._detail(entry.type_url, entry.value) for entry in entries]
        return ErrorAnswer(
            http_status, {"code": code, "message": message, "details": rendered}, tuple(headers)
        )

    def _entries(self, details: bytes) -> list[Any]:
        try:
            return list(status_pb2.Status.FromString(details).details)
        except Exception:  # upb's DecodeError; a service's garbage must not hide its code and message
            return []

    def _detail(self, type_url: str, value: bytes) -> Json:
        desc = self._registry.message(type_url.rpartition("/")[2])
        if desc is not None:
            try:
                rendered = message_to_json_value(desc.type.from_binary(value), registry=self._registry)
            except (ValueError, TypeError, RecursionError):
                rendered = None
            if isinstance(rendered, dict):
                return {"@type": type_url, **rendered}
            if rendered is not None:
                return {"@type": type_url, "value": rendered}
        return {"@type": type_url, "value": base64.b64encode(value).decode()}


def _challenge(http_status: int) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"www-authenticate", b"Bearer"),) if http_status == 401 else ()  # RFC 6750 section 3


def _retry_delay(entries: Sequence[Any]) -> int | None:
    """Whole seconds, rounded up, of the first RetryInfo."""
    info = error_details_pb2.RetryInfo()
    for entry in entries:
        if entry.Is(info.DESCRIPTOR):
            try:
                entry.Unpack(info)
            except Exception:  # upb's DecodeError; see StatusRenderer._entries
                return None
            return int(max(0, math.ceil(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)))
    return None
