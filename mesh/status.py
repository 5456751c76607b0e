"""Errors on the wire: `MeshError` ⇄ `google.rpc.Status` (AIP-193).

Going out, an error becomes a Status with ErrorInfo and whatever details fit. Coming in, a failed call becomes the same Python class
again, so a service handles its neighbour's refusal like one of its own. Text of an unexpected exception never goes out.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mesh.errors import BY_CODE, FieldViolation, MeshError, OutcomeUnknown, Unavailable

DOMAIN = "vivesphere"
DETAILS_KEY = "grpc-status-details-bin"
_ABOUT_THE_REQUEST = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE"})


def to_status(error: MeshError) -> status_pb2.Status:
    """The Status that tells a caller of `error`."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.violations and error.code in _ABOUT_THE_REQUEST:
        bad = error_details_pb2.BadRequest()
        for item in error.violations:
            bad.field_violations.add(field=item.field, description=item.description)
        details.append(bad)
    elif error.violations:
        failure = error_details_pb2.PreconditionFailure()
        for item in error.violations:
            failure.violations.add(type=error.reason, subject=item.field, description=item.description)
        details.append(failure)
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(error.retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> MeshError:
    """The error that the other side raised, or the nearest we can tell from its status code."""
    status = _attached(error)
    if status is None:
        return _bare(error.code())
    known: dict[str, Any] = {"reason": "INTERNAL"}
    for detail in status.details:
        for kind, read in _READERS:
            if detail.Is(kind.DESCRIPTOR):
                message = kind()
                detail.Unpack(message)
                known.update(read(message))
    return BY_CODE.get(error.code().name, OutcomeUnknown)(known.pop("reason"), status.message, **known)


def _attached(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The Status in the trailing metadata, if there is one that says more than the code."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return None
            return status if status.details else None
    return None


_READERS: tuple[tuple[type[Any], Callable[[Any], dict[str, Any]]], ...] = (
    (error_details_pb2.ErrorInfo, lambda info: {"reason": info.reason, "metadata": dict(info.metadata)}),
    (
        error_details_pb2.BadRequest,
        lambda bad: {"violations": [FieldViolation(v.field, v.description) for v in bad.field_violations]},
    ),
    (
        error_details_pb2.PreconditionFailure,
        lambda bad: {"violations": [FieldViolation(v.subject, v.description) for v in bad.violations]},
    ),
    (error_details_pb2.RetryInfo, lambda retry: {"retry_after": retry.retry_delay.ToTimedelta()}),
)


def _bare(code: grpc.StatusCode) -> MeshError:
    """An error that gRPC itself made: nothing of ours is in it, and its text may hold addresses, so it is not passed on."""
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(
            "SERVICE_UNAVAILABLE", "a service of the mesh does not answer", retry_after=timedelta(seconds=1)
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BY_CODE[code.name]("DEADLINE_TOO_SHORT", "a service did not answer in time")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return BY_CODE[code.name]("NOT_IMPLEMENTED", "the service does not have this method")
    return BY_CODE.get(code.name, OutcomeUnknown)("INTERNAL", "a service of the mesh failed")
